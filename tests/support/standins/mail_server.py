"""A mail server that takes every mail and keeps it."""

import socketserver
import threading
from email import message_from_bytes, policy
from email.message import EmailMessage
from types import TracebackType


class _Conversation(socketserver.StreamRequestHandler):
    """SMTP as far as a client without TLS and login speaks it (RFC 5321)."""

    server: "_Server"

    def handle(self) -> None:
        self._say("220 ready")
        while line := self.rfile.readline().strip().upper():
            if line.startswith(b"DATA"):
                self._say("354 go on")
                self.server.take(self._read_mail())
            self._say("221 bye" if line.startswith(b"QUIT") else "250 ok")

    def _read_mail(self) -> bytes:
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line)
        return b"".join(lines)

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Conversation)
        self.mails: list[EmailMessage] = []

    def take(self, mail: bytes) -> None:
        self.mails.append(message_from_bytes(mail, EmailMessage, policy=policy.default))


class MailServer:
    """The server, as a context manager. `mails`: what it took so far."""

    def __init__(self) -> None:
        self._server = _Server()
        self.url = f"smtp://127.0.0.1:{self._server.server_address[1]}"
        self.mails = self._server.mails

    def __enter__(self) -> "MailServer":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
