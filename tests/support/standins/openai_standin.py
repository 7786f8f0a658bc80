"""A stand-in for a server that speaks OpenAI's protocol: real HTTP (or TLS) on loopback, chat completions."""

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import repeat
from typing import Any, Self

KEY = "sk-stand-in-0123456789"
MODEL = "stand-in-1"
PROMPT_TOKENS, COMPLETION_TOKENS = 400, 60


class Misbehaviour(StrEnum):
    """What it does instead of answering as a good server does."""

    RATE_LIMITED = "rate_limited"
    """429, with `retry_after` if given; the body repeats the key."""
    SERVER_ERROR = "server_error"
    """500; the body repeats the key."""
    REDIRECT = "redirect"
    """307 to the stand-in's own address."""
    DRIP = "drip"
    """200, and a byte of the body at a time, without end."""
    DRIP_HEAD = "drip_head"
    """A byte of the head at a time, without end."""
    HANG = "hang"
    """No answer until the client gives up."""
    DROP = "drop"
    """The connection ends without an answer."""
    ENDLESS = "endless"
    """200 with a body that does not end, as fast as it goes."""
    COMPRESSED = "compressed"
    """200 with a body that says it is compressed."""
    BROKEN_STATUS = "broken_status"
    """A status line that is none, and repeats the key."""


@dataclass(frozen=True)
class Asked:
    """A request as it came in."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]

    @property
    def instructions(self) -> str:
        return str(self.body["messages"][0]["content"])

    @property
    def data(self) -> dict[str, Any]:
        """What was asked about, in the one message that has it."""
        return dict(json.loads(self.body["messages"][1]["content"]))


Speech = Callable[[Asked], str]
"""What the model writes."""


@dataclass
class _Plan:
    how: Misbehaviour
    left: Iterator[None]
    retry_after: str | None


@dataclass
class OpenAIStandIn:
    """Answers in the asked-for form, until it is told otherwise. Use it as a context manager.

    `asked` are the requests so far. With `tls` it speaks HTTPS.
    """

    tls: ssl.SSLContext | None = None
    host: str = "127.0.0.1"
    asked: list[Asked] = field(default_factory=list)

    def __enter__(self) -> Self:
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                stand_in._answer(self)

            def log_message(self, *_: object) -> None:
                """Tests tell what matters."""

        class Server(ThreadingHTTPServer):
            address_family = socket.AF_INET6 if ":" in stand_in.host else socket.AF_INET
            daemon_threads = True

        self._server = Server((self.host, 0), Handler)
        if self.tls is not None:
            self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._server.serve_forever, name="openai", daemon=True)
        self._thread.start()
        self.behave()
        return self

    def __exit__(self, *_error: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/v1"

    def behave(self) -> None:
        """Be as in the beginning, and forget what was asked."""
        self._plan: _Plan | None = None
        self._envelope: dict[str, Any] = {}
        self._choice: dict[str, Any] = {}
        self._speech: Speech = opinion()
        self.asked.clear()

    def say(self, speech: Speech | str, *, choice: Mapping[str, Any] | None = None, **envelope: Any) -> None:
        """Let the model write this. `choice` and `envelope` change what is around it, such as `usage`."""
        self._speech = speech if callable(speech) else lambda _asked: speech
        self._choice, self._envelope = dict(choice or {}), envelope

    def misbehave(self, how: Misbehaviour | str, times: int | None = None, *, retry_after: str | None = None) -> None:
        """Answer so to everything, or `times` times."""
        self._plan = _Plan(Misbehaviour(how), repeat(None) if times is None else repeat(None, times), retry_after)

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        asked = Asked(handler.path, headers, body)
        self.asked.append(asked)
        plan = self._plan
        with suppress(OSError):  # the client may leave at any moment
            if plan is not None and next(plan.left, self) is None:
                self._misbehave(handler, plan)
            elif handler.path != "/v1/chat/completions":
                _send(handler, 404, {"error": {"message": "no such page"}})
            else:
                _send(handler, 200, self._completion(asked))

    def _completion(self, asked: Asked) -> Any:
        message = {"role": "assistant", "content": self._speech(asked), "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
        usage = {
            "prompt_tokens": PROMPT_TOKENS,
            "completion_tokens": COMPLETION_TOKENS,
            "total_tokens": PROMPT_TOKENS + COMPLETION_TOKENS,
        }
        completion = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1_770_000_000,
            "model": asked.body["model"],
            "choices": [choice | self._choice],
            "usage": usage,
        }
        return self._envelope["whole"] if "whole" in self._envelope else completion | self._envelope

    def _misbehave(self, handler: BaseHTTPRequestHandler, plan: _Plan) -> None:
        handler.close_connection = True
        told = {"error": {"message": f"Sorry, {handler.headers['Authorization']}", "type": "error"}}
        match plan.how:
            case Misbehaviour.RATE_LIMITED:
                _send(handler, 429, told, {"Retry-After": plan.retry_after} if plan.retry_after else {})
            case Misbehaviour.SERVER_ERROR:
                _send(handler, 500, told)
            case Misbehaviour.REDIRECT:
                _send(handler, 307, {}, {"Location": f"{self.url}/chat/completions?moved"})
            case Misbehaviour.HANG:
                handler.rfile.read(1)  # returns at the end of the connection
            case Misbehaviour.DRIP_HEAD:
                handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
                self._drip(handler)
            case Misbehaviour.DRIP:
                _send_head(handler, 200, {"Content-Length": str(10**9)})
                self._drip(handler)
            case Misbehaviour.ENDLESS:
                _send_head(handler, 200, {"Content-Length": str(10**12)})
                while not self._closing.is_set():
                    handler.wfile.write(b" " * 2**16)
            case Misbehaviour.COMPRESSED:
                _send(handler, 200, {}, {"Content-Encoding": "gzip"})
            case Misbehaviour.BROKEN_STATUS:
                handler.wfile.write(f"HTTP/1.1 {handler.headers['Authorization']}\r\n\r\n".encode())

    def _drip(self, handler: BaseHTTPRequestHandler) -> None:
        while not self._closing.wait(0.02):
            handler.wfile.write(b" ")
            handler.wfile.flush()


def opinion(**changes: Any) -> Speech:
    """What a model answers that does as it is told: about the symbol, by all the headlines; but for the changes."""

    def speak(asked: Asked) -> str:
        answer = {
            "symbol": asked.data["symbol"],
            "score": 0.6,
            "recommendation": "BUY",
            "confidence": 0.7,
            "rationale": "Orders grow faster than expected.",
            "headlines": [headline["index"] for headline in asked.data["headlines"]],
        }
        return json.dumps({name: value for name, value in (answer | changes).items() if value is not ...})

    return speak


def _send(handler: BaseHTTPRequestHandler, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    _send_head(handler, status, {"Content-Length": str(len(content)), **(headers or {})})
    handler.wfile.write(content)


def _send_head(handler: BaseHTTPRequestHandler, status: int, headers: Mapping[str, str]) -> None:
    handler.send_response(status)
    for name, value in {"Content-Type": "application/json", **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
