"""Slow clients wait in the event loop: they take no thread from others, and no memory without a limit."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from tempfile import SpooledTemporaryFile
from typing import IO, Any

LARGEST_BODY = 32 * 2**20
"""Bytes of a request. Much more than a page takes, so that its owner reads the page's own words about a large file."""
IN_MEMORY = 2**18
"""Bytes of a request that are kept in memory; longer requests are kept in a temporary file."""
SLOWEST_PART = 30.0
"""Seconds that a client may take to receive a part of an answer. gunicorn's `timeout` is the limit for requests."""
PART = 65_536
"""Bytes of a part of an answer."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class SlowClient(Exception):
    """A client did not receive a part of its answer in time."""


class RequestRefused(Exception):
    """A body that is too large, or that did not come to its end; the message is the text of the answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


async def whole_request(scope: MutableMapping[str, Any], receive: Receive) -> Receive:
    """Read a request's body to its end. Returns a `receive` that needs no client. Raises RequestRefused."""
    # Closed when nobody refers to it: a thread may read after its client has left.
    body = SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115
    left = await _keep_body(scope, receive, body)
    body.seek(0)
    has_ended = False

    async def receive_kept() -> Message:
        nonlocal left, has_ended
        if has_ended:
            return await receive()
        part = body.read(PART)
        left -= len(part)
        has_ended = not left
        return {"type": "http.request", "body": part, "more_body": not has_ended}

    return receive_kept


async def _keep_body(scope: MutableMapping[str, Any], receive: Receive, body: IO[bytes]) -> int:
    """Write the body into a file; return its length."""
    announced = dict(scope["headers"]).get(b"content-length", b"")
    length = int(announced[:18]) if announced.isdigit() else 0
    has_more = True
    while has_more:
        if max(length, body.tell()) > LARGEST_BODY:
            raise RequestRefused(413, f"The request is too large; it may have {LARGEST_BODY:,} bytes.")
        message = await receive()
        if message["type"] == "http.disconnect":  # also sent if nothing came for long
            raise RequestRefused(408, "The end of the request did not arrive.")
        body.write(message.get("body", b""))
        has_more = message.get("more_body", False)
    return body.tell()


async def refuse(send: Send, refusal: RequestRefused) -> None:
    """Answer a refused request."""
    text = str(refusal).encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(text)), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": text})


def in_parts(send: Send) -> Send:
    """A `send` that gives the client SLOWEST_PART seconds for each PART, however long the answer is.

    Raises SlowClient if a part takes longer.
    """

    async def send_parts(message: Message) -> None:
        try:
            for part in _parts(message):
                async with asyncio.timeout(SLOWEST_PART):
                    await send(part)
        except TimeoutError:
            raise SlowClient from None

    return send_parts


def _parts(message: Message) -> list[Message]:
    body = message.get("body", b"")
    starts = range(0, max(1, len(body)), PART)
    if message["type"] != "http.response.body" or len(starts) == 1:
        return [message]
    parts: list[Message] = [{**message, "body": body[start : start + PART], "more_body": True} for start in starts]
    parts[-1]["more_body"] = message.get("more_body", False)
    return parts
