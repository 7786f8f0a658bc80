"""A TCP proxy that keeps back what a server answers, for as long as a test wants."""

import socket
import threading
from contextlib import suppress
from typing import Self


class StallingProxy:
    """Passes everything on to `host`:`port` and back; `hold_back()` and `release()` stop and start the way back.

    `forget()` is for connections that die unnoticed: those that are open are never answered again, new ones are.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._changed = threading.Condition()
        self._holds_back = False
        self._trigger = b""
        self._passed_on = 0
        self._held = 0
        self._sockets: list[socket.socket] = []
        self._forgotten: set[socket.socket] = set()

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.release()
        with self._changed:
            for end in [self._listener, *self._sockets]:
                _hang_up(end)

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def passed_on(self) -> int:
        """Bytes that the server was sent so far."""
        with self._changed:
            return self._passed_on

    @property
    def held(self) -> int:
        """Bytes of the server that were kept back so far."""
        with self._changed:
            return self._held

    def hold_back(self) -> None:
        with self._changed:
            self._holds_back = True

    def hold_back_from(self, words: bytes) -> None:
        """Hold back from the answer to the next request on that has `words` in it; the request itself is passed on."""
        with self._changed:
            self._trigger = words

    def forget(self) -> None:
        with self._changed:
            self._forgotten.update(self._sockets)

    def release(self) -> None:
        with self._changed:
            self._holds_back = False
            self._changed.notify_all()

    def _accept(self) -> None:
        while True:
            try:
                client, _address = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._server)
            except OSError:
                client.close()
                continue
            with self._changed:
                self._sockets += [client, server]
            threading.Thread(target=self._ask, args=(client, server), daemon=True).start()
            threading.Thread(target=self._answer, args=(server, client), daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65_536):
                with self._changed:
                    if self._trigger and self._trigger in data:
                        self._holds_back, self._trigger = True, b""
                server.sendall(data)
                with self._changed:
                    self._passed_on += len(data)
        _hang_up(client, server)

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65_536):
                with self._changed:
                    if self._holds_back:
                        self._held += len(data)
                        self._changed.wait_for(lambda: not self._holds_back)
                    if server in self._forgotten:
                        continue
                client.sendall(data)
        _hang_up(client, server)


def _hang_up(*ends: socket.socket) -> None:
    for end in ends:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()
