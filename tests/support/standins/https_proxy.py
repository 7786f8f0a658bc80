"""An HTTP proxy that answers HTTPS requests itself, with certificates of its own authority."""

import shutil
import socket
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import parse_headers
from itertools import chain, repeat
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from tests.support.certificates import make_server_context


@dataclass(frozen=True)
class Answer:
    """What a client gets. `status` None: nothing, the connection is closed."""

    status: int | None
    body: bytes = b""
    content_type: str = "application/json;charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    hangs: bool = False
    """Wait until the client or the proxy ends the connection."""
    ends: bool = False
    """The connection is closed after it."""
    stream: Iterator[bytes] | None = None
    """What is sent instead of `body`, as it comes."""


class HttpsProxy:
    """Answers CONNECT for `domain` and its subdomains, speaks TLS for them, and refuses other hosts with 403.

    `answer(method, host, target, body)` is called for each request, in the thread of its connection;
    `refused(method, host)` for each that was refused. `names` are those of the certificate.
    """

    def __init__(
        self,
        domain: str,
        names: Sequence[str],
        answer: Callable[[str, str, str, bytes], Answer],
        refused: Callable[[str, str], None],
    ) -> None:
        self._domain = domain
        self._answer = answer
        self._refused = refused
        self._closing = threading.Event()
        self._lock = threading.Lock()
        # A duplicate of each connection's socket: shutting it down wakes the thread, inside TLS too.
        self._connections: dict[threading.Thread, socket.socket] = {}
        self._folder = Path(tempfile.mkdtemp(prefix="stockqueue-proxy-"))
        self.ca_bundle = self._folder / "ca.pem"
        self._tls = make_server_context(self.ca_bundle, names)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._acceptor = threading.Thread(target=self._accept, name="https-proxy", daemon=True)
        self._acceptor.start()

    def close(self) -> None:
        """End every connection and thread, at once."""
        self._closing.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self._listener.close()
        with self._lock:
            threads = list(self._connections)
            for connection in self._connections.values():
                with suppress(OSError):  # the client has left already
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:  # shut down by close()
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = threading.Thread(
                target=self._converse, args=(connection,), name="https-proxy-client", daemon=True
            )
            with self._lock:
                self._connections[thread] = connection.dup()
            thread.start()

    def _converse(self, connection: socket.socket) -> None:
        try:
            with suppress(OSError), connection:  # a client may leave at any moment
                self._tunnel(connection)
        finally:
            with self._lock:
                self._connections.pop(threading.current_thread()).close()

    def _tunnel(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            head = _read_request(stream)
        if head is None:
            return
        method, target, _ = head
        host = (target if method == "CONNECT" else urlsplit(target).netloc).partition(":")[0].lower()
        if method != "CONNECT" or not f".{host}".endswith(f".{self._domain}"):
            self._refused(method, host)
            _send(connection, Answer(HTTPStatus.FORBIDDEN, content_type="text/plain"))
            return
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with self._tls.wrap_socket(connection, server_side=True) as secure, secure.makefile("rb") as stream:
            while (head := _read_request(stream)) is not None:
                method, target, body = head
                answer = self._answer(method, host, target, body)
                if answer.hangs:
                    stream.read(1)  # returns at the end of the connection
                if answer.status is None or self._closing.wait(answer.delay):
                    return
                _send(secure, answer)
                if answer.ends:
                    return


def _read_request(stream: BinaryIO) -> tuple[str, str, bytes] | None:
    """Method, target and body of the next request; None where the client has left."""
    line = stream.readline(65537)
    if not line:
        return None
    method, target, _ = line.decode("latin-1").split()
    headers = parse_headers(stream)
    return method, target, stream.read(int(headers.get("Content-Length", 0)))


def _send(connection: socket.socket, answer: Answer) -> None:
    status = answer.status or HTTPStatus.INTERNAL_SERVER_ERROR
    phrase = HTTPStatus(status).phrase if status in list(HTTPStatus) else "Unknown"
    length = {"Content-Length": str(len(answer.body))} if answer.stream is None else {"Transfer-Encoding": "chunked"}
    headers = {"Content-Type": answer.content_type, **length, **answer.headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    connection.sendall(f"HTTP/1.1 {status:d} {phrase}\r\n{head}\r\n".encode() + answer.body)
    if answer.stream is not None:
        for part in answer.stream:
            connection.sendall(b"%x\r\n%s\r\n" % (len(part), part))
        connection.sendall(b"0\r\n\r\n")


def endless() -> Answer:
    """The beginning of a JSON object, and blanks without end."""
    return Answer(200, stream=chain([b"{"], repeat(b" " * 2**16)))


def bomb() -> Answer:
    """A gigabyte of blanks that was compressed to a megabyte."""
    return Answer(200, stream=_compress(repeat(b" " * 2**20, 1024)), headers={"Content-Encoding": "gzip"})


def _compress(parts: Iterable[bytes]) -> Iterator[bytes]:
    gzip = zlib.compressobj(wbits=zlib.MAX_WBITS + 16)
    for part in parts:
        if compressed := gzip.compress(part):
            yield compressed
    yield gzip.flush()
