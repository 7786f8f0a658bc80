"""gunicorn's worker: pages of the WSGI application in a fixed number of threads, and streams without threads."""

import resource
from collections.abc import MutableMapping
from typing import Any, cast

from a2wsgi import WSGIMiddleware
from gunicorn.workers.gasgi import ASGIWorker

from portfolio.live import stream
from portfolio.live.pages import open_pages
from portfolio.live.stream import Application, Message, Receive, Send


class WebWorker(ASGIWorker):
    """Serves `stockqueue.wsgi`. `--threads` is the number of requests at a time; streams do not count."""

    asgi: Any

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """Nothing: the base class warns that it uses no threads."""

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
    """The ASGI application around the WSGI application."""

    def __init__(self, application: Any, threads: int) -> None:
        self._pages = cast(Application, WSGIMiddleware(application, workers=threads))

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == stream.ADDRESS:
            await stream.serve(self._answer, scope, receive, send)
        else:
            await self._answer(scope, receive, send)

    async def _answer(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        await self._pages(scope, _whole(receive), send)


def _whole(receive: Receive) -> Receive:
    """Raises an error if the client leaves before the end of the body; a2wsgi would take the part for the whole."""

    async def receive_part() -> Message:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionAbortedError("the client left before the end of its request")
        return message

    return receive_part
