"""Reads the stream of a page as a browser does, from a web server that the tests start."""

import http.client
import queue
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple, Self
from urllib.parse import urlencode, urlsplit

from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client

PATIENCE = 30.0
"""Seconds that an event may take."""
WEB_SERVER = ("-m", "gunicorn", "stockqueue.wsgi", "--bind")


def cookie_of(user: User) -> str:
    """The Cookie header of a new session of the user, without the requests of a login."""
    client = Client()
    client.force_login(user)
    return f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"


class Event(NamedTuple):
    name: str
    data: str


class Stream:
    """An open stream. `status` and `headers` are those of the answer."""

    def __init__(self, site: str, cookie: str, **query: object) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(site).netloc, timeout=120)
        parameters = urlencode({"since": f"{time.time():.3f}"} | query)
        headers = {"Cookie": cookie, "Accept-Encoding": "gzip"}  # as browsers say
        self._connection.request("GET", f"/live/?{parameters}", headers=headers)
        self._socket = self._connection.sock
        self._answer = self._connection.getresponse()
        self.status = self._answer.status
        self.headers = self._answer.headers
        self._events: queue.Queue[Event | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with suppress(OSError):  # the server has left
            self._socket.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self._socket.close()

    def next(self, timeout: float = PATIENCE) -> Event | None:
        """The next event but beats; None at the end of the stream."""
        until = time.monotonic() + timeout
        while True:
            event = self._events.get(timeout=max(0.0, until - time.monotonic()))
            if event is None or event.name != "beat":
                return event

    def wait_for(self, text: str, timeout: float = PATIENCE) -> list[Event]:
        """The events until one contains the text."""
        seen: list[Event] = []
        while not seen or text not in seen[-1].data:
            event = self.next(timeout)
            assert event is not None, f"the stream ended without {text!r}: {seen}"
            seen.append(event)
        return seen

    def _read(self) -> None:
        try:
            for block in self._blocks():
                lines = dict(line.split(": ", 1) for line in block)
                self._events.put(Event(lines["event"], lines["data"]))
        except (OSError, ValueError, AttributeError, http.client.HTTPException):
            pass  # closed by the test, or by the death of the server
        self._events.put(None)

    def _blocks(self) -> Iterator[list[str]]:
        block: list[str] = []
        while line := self._answer.readline().decode():
            if line == "\n":
                yield block
                block = []
            else:
                block.append(line.rstrip("\n"))
