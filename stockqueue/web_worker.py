"""gunicorn's worker: pages of the WSGI application in a fixed number of threads, and streams without threads."""

import resource
from collections.abc import MutableMapping
from typing import Any, cast

from a2wsgi import WSGIMiddleware
from gunicorn.workers.gasgi import ASGIWorker

from portfolio.live import stream
from portfolio.live.pages import open_pages
from portfolio.live.stream import Application, Receive, Send
from stockqueue.slow_clients import RequestRefused, SlowClient, in_parts, refuse, whole_request


class WebWorker(ASGIWorker):
    """Serves `stockqueue.wsgi`. `--threads` is the number of requests at a time; streams do not count."""

    asgi: Any

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """Checks nothing. The base class would warn about `--threads`, which this worker uses."""

    def init_process(self) -> None:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        # Each stream is an open file, and the usual limit is 1,024.
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        super().init_process()

    def load_wsgi(self) -> None:
        super().load_wsgi()
        self.asgi = Site(self.asgi, self.cfg.threads)

    def handle_exit_signal(self) -> None:
        super().handle_exit_signal()
        open_pages.close()

    def handle_quit_signal(self) -> None:
        super().handle_quit_signal()
        open_pages.close()


class Site:
    """The ASGI application around the WSGI application. No thread waits for a client."""

    def __init__(self, application: Any, threads: int) -> None:
        # Without a limit of the queue: a thread that waited for a client's next part would wait for ever if the
        # client left.
        self._pages = cast(Application, WSGIMiddleware(application, workers=threads, send_queue_size=0))

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._pages(scope, receive, send)
            return
        patient_send = in_parts(send)
        try:
            await self._answer(scope, await whole_request(scope, receive), patient_send)
        except RequestRefused as refusal:
            await refuse(patient_send, refusal)
        except SlowClient:
            pass  # gunicorn logs that the answer was not completed, and closes the connection

    async def _answer(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["path"] == stream.ADDRESS:
            await stream.serve(self._pages, scope, receive, send)
        else:
            await self._pages(scope, receive, send)
