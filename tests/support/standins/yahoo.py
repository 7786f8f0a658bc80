"""A stand-in for Yahoo: an HTTPS server behind an HTTP proxy, with a certificate authority of its own."""

import datetime
import json
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from http import HTTPStatus
from itertools import repeat
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.support.standins.https_proxy import Answer, HttpsProxy, bomb, endless
from tests.support.standins.yahoo_chart import Bar, ChartError, Listing, chart_body, daily_bars, last_weekday
from tests.support.standins.yahoo_news import news_body, symbol_asked_for
from tests.support.standins.yahoo_quotes import Entry, quote_of, quotes_answer
from tests.support.standins.yahoo_search import search_body
from tests.support.standins.yahoo_summary import CRUMB, Modules, summary_answer

__all__ = [
    "ANY_SYMBOL",
    "COOKIE",
    "CRUMB_PATH",
    "NEWS",
    "QUOTES",
    "SEARCH",
    "SUMMARY",
    "Bar",
    "Misbehaviour",
    "Request",
    "YahooStandIn",
    "daily_bars",
    "last_weekday",
]

ANY_SYMBOL = "*"
NEWS = "/xhr/ncp"
"""In place of a symbol: what `misbehave` does to the news of all stocks."""
SUMMARY = "/v10/finance/quoteSummary"
"""The same for the fundamentals of all stocks."""
QUOTES = "/v7/finance/quote"
"""The same for quotes."""
SEARCH = "/v1/finance/search"
"""The same for searches."""
COOKIE, CRUMB_PATH = "https://fc.yahoo.com", "/v1/test/getcrumb"
"""The same for the cookie and for the crumb."""
_CHART = re.compile(r"/v8/finance/chart/(.+)")
_SUMMARY = re.compile(SUMMARY + "/(.+)")
_CONSENT_FORM = (
    '<html><form><input name="csrfToken" value="token"><input name="sessionId" value="session"></form></html>'
)
_TOO_MANY = "<!DOCTYPE html><html><head><title>Yahoo</title></head><body>Edge: Too Many Requests</body></html>"
_DOWN = "<html><head><title>Yahoo</title></head><body><h1>Will be right back...</h1></body></html>"


class Misbehaviour(StrEnum):
    """What the stand-in does instead of answering as Yahoo does on a good day."""

    RATE_LIMITED = "rate_limited"
    """429, with `retry_after` if given."""
    BLOCKED = "blocked"
    """999 with a page."""
    REFUSED_WITH_200 = "refused_with_200"
    """200 with a page about too many requests."""
    UNAUTHORIZED = "unauthorized"
    """401, as for a crumb that has run out."""
    SERVER_ERROR = "server_error"
    """503 with a page."""
    NOT_FOUND = "not_found"
    """404 with a page."""
    HTML = "html"
    """200 with the page "Will be right back"."""
    MALFORMED = "malformed"
    """200 with JSON that breaks off."""
    CUT = "cut"
    """200 with the beginning of an answer; the connection is closed before as much has come as the header says."""
    NULL_BODY = "null_body"
    """200 with `null`."""
    NESTED = "nested"
    """200 with JSON that is nested too deeply to be read."""
    EMPTY = "empty"
    """What is known of the symbol, without bars, as for one that was delisted."""
    NAN = "nan"
    """Null prices in the newest row and in every fifth before it; their volumes stay."""
    ALL_NAN = "all_nan"
    """Null prices in every row."""
    TIMEOUT = "timeout"
    """No answer until the client gives up or the stand-in closes."""
    DROP = "drop"
    """The connection is closed without an answer."""
    ENDLESS = "endless"
    """200 with a body that does not end."""
    BOMB = "bomb"
    """200 with a gigabyte that was compressed to a megabyte."""


@dataclass(frozen=True)
class Request:
    """A request as it came in. `status` is None where no answer was given."""

    at: float
    """time.monotonic() when it had been read"""
    method: str
    host: str
    path: str
    symbol: str | None
    params: Mapping[str, str]
    status: int | None
    news_of: str | None = None
    """The symbol that news were asked for."""
    summary_of: str | None = None
    """The symbol that fundamentals were asked for."""
    quotes_of: tuple[str, ...] = ()
    """The symbols that quotes were asked for."""

    @property
    def is_lookup(self) -> bool:
        """Whether yfinance only wants to know the symbol's time zone."""
        return self.params.get("range") == "1d" and "events" not in self.params


@dataclass(frozen=True)
class _Plan:
    how: Misbehaviour
    retry_after: int | None
    answers: Iterator[None]
    """One for each answer that is still to be so."""


class YahooStandIn:
    """Yahoo's charts, quotes, cookie and crumb, for the symbols that `serve()` was given; news of any symbol, and
    fundamentals of those that `serve_fundamentals()` was given.

    Clients reach it through `proxy_url` at Yahoo's own addresses and trust `ca_bundle`. Any other host
    is refused with 403. `latency` seconds pass before each answer. Use it as a context manager.
    """

    def __init__(self, latency: float = 0.0) -> None:
        self.latency = latency
        self._listings: dict[str, Listing] = {}
        self._news: dict[str, Sequence[Mapping[str, Any]]] = {}
        self._fundamentals: dict[str, Modules] = {}
        self._quotes: dict[str, Sequence[Entry]] = {}
        self._plans: dict[str, _Plan] = {}
        self._requests: list[Request] = []
        self._changed = threading.Condition()
        self._released = threading.Event()
        self._released.set()
        names = ["yahoo.com", "*.yahoo.com", "*.finance.yahoo.com"]
        self._proxy = HttpsProxy("yahoo.com", names, self._answer, self._refused)
        self.proxy_url = self._proxy.url
        self.ca_bundle = self._proxy.ca_bundle

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every connection and thread, at once."""
        self._released.set()
        self._proxy.close()

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead the program to the stand-in."""
        return {"YAHOO_PROXY": self.proxy_url, "YAHOO_CA_BUNDLE": str(self.ca_bundle)}

    def serve(
        self,
        symbol: str,
        bars: Sequence[Bar],
        *,
        currency: str = "USD",
        exchange: str = "CCC",
        timezone: str = "America/New_York",
        name: str = "",
        instrument: str = "EQUITY",
        isin: str = "",
        splits: Mapping[datetime.date, tuple[int, int]] | None = None,
        dividends: Mapping[datetime.date, float] | None = None,
    ) -> None:
        """Know `symbol` from now on, with these bars in place of earlier ones. A 4-for-1 split is (4, 1).

        Without `exchange` it is at one that never closes, so that tests do the same at night and on Sundays.
        """
        ordered = tuple(sorted(bars, key=lambda bar: bar.date))
        self._listings[symbol] = Listing(
            symbol, ordered, currency, exchange, timezone, name, instrument, isin, splits or {}, dividends or {}
        )

    def serve_news(self, symbol: str, articles: Sequence[Mapping[str, Any]]) -> None:
        """Have these articles (of `yahoo_news`) about `symbol`, in this order, in place of earlier ones."""
        self._news[symbol] = articles

    def serve_fundamentals(self, symbol: str, modules: Modules) -> None:
        """Have these modules (of `yahoo_summary`) of `symbol`, in place of earlier ones."""
        self._fundamentals[symbol] = modules

    def serve_quote(self, symbol: str, *entries: Entry) -> None:
        """Have these entries (of `quote_of`) in place of the quote of `symbol`: none, one, or several."""
        self._quotes[symbol] = entries

    def quote_of(self, symbol: str, /, **changes: Any) -> dict[str, Any]:
        """The quote that fits the bars of `symbol`, with `changes` by Yahoo's names; `...` takes a field away."""
        return quote_of(self._listings[symbol], **changes)

    def forget(self, symbol: str) -> None:
        """Answer 404 for `symbol` from now on, and have no quote, no news and no fundamentals of it."""
        self._listings.pop(symbol, None)
        self._quotes.pop(symbol, None)
        self._news.pop(symbol, None)
        self._fundamentals.pop(symbol, None)

    def misbehave(
        self,
        symbol: str,
        how: Misbehaviour | str,
        *,
        retry_after: int | None = None,
        times: int | None = None,
    ) -> None:
        """Answer so for `symbol`, or for every one that has no own order with ANY_SYMBOL.

        `retry_after` seconds go with a 429. After `times` such answers all is well again.
        """
        answers = repeat(None) if times is None else iter([None] * times)
        self._plans[symbol] = _Plan(Misbehaviour(how), retry_after, answers)

    def behave(self, symbol: str) -> None:
        """End what `misbehave` began for `symbol`."""
        self._plans.pop(symbol, None)

    def hold_back(self) -> None:
        """Let requests for charts in, and answer none before `release()`."""
        self._released.clear()

    def release(self) -> None:
        """Answer what was held back, and everything from now on."""
        self._released.set()

    def closes(self, symbol: str) -> dict[datetime.date, float]:
        """The closing prices of the bars that `symbol` was served with."""
        return {bar.date: bar.close for bar in self._listings[symbol].bars}

    @property
    def requests(self) -> list[Request]:
        """Every request so far, refused hosts included, in the order of arrival."""
        with self._changed:
            return list(self._requests)

    def chart_requests(self, symbol: str | None = None) -> list[Request]:
        """The requests for charts, of `symbol` if given."""
        return [
            request
            for request in self.requests
            if request.symbol is not None and (symbol is None or request.symbol == symbol)
        ]

    def news_requests(self) -> list[Request]:
        """The requests for news."""
        return [request for request in self.requests if request.news_of is not None]

    def summary_requests(self) -> list[Request]:
        """The requests for fundamentals."""
        return [request for request in self.requests if request.summary_of is not None]

    def quote_requests(self) -> list[Request]:
        """The requests for quotes."""
        return [request for request in self.requests if request.quotes_of]

    def wait_for_requests(self, count: int, symbol: str | None = None, timeout: float = 10.0) -> list[Request]:
        """The chart requests once there are at least `count`; TimeoutError after `timeout` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.chart_requests(symbol)) >= count, timeout):
                seen = len(self.chart_requests(symbol))
                raise TimeoutError(f"{seen} of {count} chart requests for {symbol or 'any symbol'} after {timeout} s")
            return self.chart_requests(symbol)

    def _answer(self, method: str, host: str, target: str, body: bytes) -> Answer:
        arrived = time.monotonic()
        parts = urlsplit(target)
        path, params = unquote(parts.path), dict(parse_qsl(parts.query, keep_blank_values=True))
        chart, summary = _CHART.fullmatch(path), _SUMMARY.fullmatch(path)
        is_news = (method, host, path) == ("POST", "finance.yahoo.com", NEWS)
        request = Request(
            arrived,
            method,
            host,
            path,
            chart[1] if chart else None,
            params,
            None,
            news_of=symbol_asked_for(body) if is_news else None,
            summary_of=summary[1] if summary else None,
            quotes_of=tuple(params.get("symbols", "").split(",")) if path == QUOTES else (),
        )
        if chart:
            answer = self._chart(request)
        elif summary:
            answer = self._summary(summary[1], params)
        elif path == QUOTES:
            answer = self._failure_of(QUOTES) or _json(*quotes_answer(self._listings, self._quotes, params))
        elif path == SEARCH:
            answer = self._failure_of(SEARCH) or _json(200, search_body(self._listings.values(), params))
        else:
            answer = self._news_of(request) if is_news else self._formality(host, path)
        self._record(replace(request, status=answer.status))
        if chart or request.quotes_of:
            self._released.wait()
        return replace(answer, delay=self.latency)

    def _refused(self, method: str, host: str) -> None:
        self._record(Request(time.monotonic(), method, host, "", None, {}, HTTPStatus.FORBIDDEN))

    def _record(self, request: Request) -> None:
        with self._changed:
            self._requests.append(request)
            self._changed.notify_all()

    def _chart(self, request: Request) -> Answer:
        symbol = request.symbol or ""
        plan = self._plans.get(symbol) or self._plans.get(ANY_SYMBOL)
        if plan is not None and next(plan.answers, self) is self:
            plan = None
        if plan is not None and (answer := _failure(plan)) is not None:
            return answer
        listing = self._listings.get(symbol)
        try:
            if listing is None:
                raise ChartError(404, "Not Found", "No data found, symbol may be delisted")
            if plan and plan.how is Misbehaviour.EMPTY:
                listing = replace(listing, bars=())
            step = {Misbehaviour.NAN: 5, Misbehaviour.ALL_NAN: 1}.get(plan.how) if plan else None
            blank = [bar.date for bar in listing.bars[::-1][::step]] if step else []
            return _json(200, chart_body(listing, request.params, blank=frozenset(blank)))
        except ChartError as error:
            return _json(error.status, error.body)

    def _news_of(self, request: Request) -> Answer:
        if (answer := self._failure_of(NEWS)) is not None:
            return answer
        if request.params.get("queryRef") != "latestNews" or request.params.get("serviceKey") != "ncp_fin":
            return _json(400, {"status": "ERROR", "data": None})
        return _json(200, news_body(self._news.get(request.news_of or "", ())))

    def _summary(self, symbol: str, params: Mapping[str, str]) -> Answer:
        answer = self._failure_of(SUMMARY)
        return answer or _json(*summary_answer(symbol, self._fundamentals.get(symbol), params))

    def _formality(self, host: str, path: str) -> Answer:
        kind = path if path == CRUMB_PATH else f"https://{host}"
        return self._failure_of(kind) or _formality(host, path)

    def _failure_of(self, kind: str) -> Answer | None:
        """What was ordered for news, fundamentals, the cookie or the crumb, as long as it is to be so."""
        plan = self._plans.get(kind)
        return _failure(plan) if plan is not None and next(plan.answers, self) is not self else None


def _failure(plan: _Plan) -> Answer | None:
    """The answer to `plan`, where it does not depend on the symbol's bars."""
    match plan.how:
        case Misbehaviour.RATE_LIMITED:
            headers = {} if plan.retry_after is None else {"Retry-After": str(plan.retry_after)}
            return Answer(429, b"Too Many Requests\r\n", "text/plain", headers)
        case Misbehaviour.BLOCKED:
            return Answer(999, b"<html><body>Unable to process request at this time</body></html>", "text/html")
        case Misbehaviour.REFUSED_WITH_200:
            return Answer(200, _TOO_MANY.encode(), "text/html")
        case Misbehaviour.UNAUTHORIZED:
            error = {"code": "Unauthorized", "description": "Invalid Crumb"}
            return _json(401, {"chart": {"result": None, "error": error}})
        case Misbehaviour.SERVER_ERROR:
            return Answer(503, b"<html><body>Service Unavailable</body></html>", "text/html")
        case Misbehaviour.NOT_FOUND:
            return Answer(404, b"<html><body>Not Found</body></html>", "text/html")
        case Misbehaviour.HTML:
            return Answer(200, _DOWN.encode(), "text/html")
        case Misbehaviour.MALFORMED:
            return Answer(200, b'{"chart":{"result":[{"meta":{"currency":"US')
        case Misbehaviour.CUT:
            return Answer(200, b'{"chart":{"result":[', headers={"Content-Length": "5000"}, ends=True)
        case Misbehaviour.NULL_BODY:
            return Answer(200, b"null")
        case Misbehaviour.NESTED:
            return Answer(200, b"[" * 100_000)
        case Misbehaviour.TIMEOUT:
            return Answer(None, hangs=True)
        case Misbehaviour.DROP:
            return Answer(None)
        case Misbehaviour.ENDLESS:
            return endless()
        case Misbehaviour.BOMB:
            return bomb()
    return None


def _formality(host: str, path: str) -> Answer:
    """Cookie, crumb and consent, which yfinance asks for before or between charts; 404 for all else."""
    if host == "fc.yahoo.com":
        cookie = "A3=d=stand-in; Max-Age=31557600; Domain=.yahoo.com; Path=/; SameSite=None; Secure; HttpOnly"
        return Answer(404, b"<html>Not Found</html>", "text/html", {"Set-Cookie": cookie})
    if path == CRUMB_PATH:
        return Answer(200, CRUMB.encode(), "text/plain;charset=utf-8")
    if host == "guce.yahoo.com" and path == "/consent":
        return Answer(200, _CONSENT_FORM.encode(), "text/html")
    if host in ("guce.yahoo.com", "consent.yahoo.com"):
        return Answer(200, b"<html></html>", "text/html")
    return _json(404, {"finance": {"result": None, "error": {"code": "Not Found", "description": "Quote not found"}}})


def _json(status: int, body: Any) -> Answer:
    return Answer(status, json.dumps(body, separators=(",", ":")).encode())
