"""Turns answers into streams. Imports no models: gunicorn loads its worker before Django is set up."""

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from portfolio.live.messages import beat
from portfolio.live.pages import OpenPage, open_pages

ADDRESS = "/live/"
HEARTBEAT = 15.0
"""Seconds between two signs of life; proxies end connections that are silent for a minute."""
LONGEST_STREAM = 600.0
"""Seconds after which the browser has to ask again."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

_KEY = "stockqueue.stream"


class Offer:
    """A server's offer to go on with an answer as the stream of `page`."""

    page: OpenPage | None = None


def offer_in(environ: MutableMapping[str, Any]) -> Offer | None:
    """The offer of the server of this request; None from a server that needs a thread for each stream."""
    offer: Offer | None = environ.get("asgi.scope", {}).get(_KEY)
    return offer


async def serve(site: Application, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    """Answer a request to `/live/`: the site decides, and an accepted page gets a stream that takes no thread."""
    offer = Offer()
    answer = _Answer(offer, send)
    try:
        await site({**scope, _KEY: offer}, receive, answer.send)
        if answer.page is not None:
            await _stream(answer.page, receive, send)
    finally:
        if offer.page is not None:
            open_pages.remove(offer.page)


class _Answer:
    """The site's answer: passed on, but without its end if the site accepted a page and nothing failed afterwards."""

    def __init__(self, offer: Offer, send: Send) -> None:
        self._offer = offer
        self._send = send
        self.page: OpenPage | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == 200:
            self.page = self._offer.page
            if self.page is not None:
                headers = [(name, value) for name, value in message["headers"] if name != b"content-length"]
                message = {**message, "headers": headers}
        if self.page is None or message["type"] == "http.response.start":
            await self._send(message)


async def _stream(page: OpenPage, receive: Receive, send: Send) -> None:
    loop, news = asyncio.get_running_loop(), asyncio.Event()
    page.on_news(lambda: loop.call_soon_threadsafe(news.set))
    leaving = loop.create_task(_end_with_client(page, receive))
    until = time.monotonic() + LONGEST_STREAM
    text = beat(open_pages.seen_until)
    try:
        while not page.has_ended and time.monotonic() < until:
            await _send_part(send, text)
            text = await _next_text(page, news)
        await _send_part(send, text, more=False)
    finally:
        page.on_news(lambda: None)
        leaving.cancel()


async def _next_text(page: OpenPage, news: asyncio.Event) -> str:
    """The next text of the page, or a sign of life after HEARTBEAT seconds."""
    try:
        async with asyncio.timeout(HEARTBEAT):
            await news.wait()
    except TimeoutError:
        return beat(open_pages.seen_until)
    news.clear()
    return page.take()


async def _end_with_client(page: OpenPage, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    page.end()


async def _send_part(send: Send, text: str, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": text.encode(), "more_body": more})
