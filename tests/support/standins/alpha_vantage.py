"""A stand-in for Alpha Vantage: what its REST API answers to a free key, behind an HTTPS proxy of its own."""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import repeat
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from tests.support.standins.https_proxy import Answer, HttpsProxy, bomb, endless
from tests.support.standins.yahoo_chart import Bar

KEY = "FREEKEY12345"
PAID_KEY = "PAIDKEY12345"
COMPACT = 100

_PLANS = "You may subscribe to any of the premium plans at https://www.alphavantage.co/premium/ to"


class Misbehaviour(StrEnum):
    """What the stand-in does instead of answering as Alpha Vantage does on a good day."""

    A_SECOND = "a_second"
    A_MINUTE = "a_minute"
    A_DAY = "a_day"
    """200 with a text: more requests than allowed in a second, a minute, a day. The last one repeats the key."""
    UNHEARD_OF = "unheard_of"
    """200 with a text about something else that repeats the key."""
    TOO_MANY = "too_many"
    """429"""
    SERVER_ERROR = "server_error"
    HTML = "html"
    MALFORMED = "malformed"
    NESTED = "nested"
    """JSON that breaks off, or that is nested too deeply to be read."""
    LIST = "list"
    EMPTY = "empty"
    """200 with `[]`, or `{}`."""
    NAN = "nan"
    MISSING_FIELD = "missing_field"
    """A newest bar without a number as its close, or without a close."""
    REDIRECT = "redirect"
    """302 to an address that is not encrypted."""
    TIMEOUT = "timeout"
    DROP = "drop"
    ENDLESS = "endless"
    BOMB = "bomb"
    """As of the stand-in for Yahoo."""


_TEXTS = {
    Misbehaviour.A_SECOND: (
        "Information",
        "Thank you for using Alpha Vantage! Please consider spreading out your free API requests more sparingly "
        f"(1 request per second). {_PLANS} lift the free key rate limit (25 requests per day), raise the per-second "
        "burst limit, and instantly unlock all premium endpoints",
    ),
    Misbehaviour.A_MINUTE: (
        "Note",
        "Thank you for using Alpha Vantage! Our standard API call frequency is 5 calls per minute and 500 calls per "
        "day. Please visit https://www.alphavantage.co/premium/ if you would like to target a higher API call "
        "frequency.",
    ),
    Misbehaviour.A_DAY: (
        "Information",
        "We have detected your API key as {key} and our standard API rate limit is 25 requests per day. Please "
        "subscribe to any of the premium plans at https://www.alphavantage.co/premium/ to instantly remove all daily "
        "rate limits.",
    ),
    Misbehaviour.UNHEARD_OF: ("Information", "Closed\0\ud800 for repairs, {key}"),
}


class AlphaVantageStandIn:
    """TIME_SERIES_DAILY for the symbols that `serve()` was given. Use it as a context manager.

    `requests` are the queries so far, parameter by parameter.
    """

    def __init__(self) -> None:
        self.requests: list[Mapping[str, str]] = []
        self._bars: dict[str, Sequence[Bar]] = {}
        self._how: Misbehaviour | None = None
        self._left: Iterator[None] = iter(())
        self._lock = threading.Lock()
        names = ["www.alphavantage.co"]
        self._proxy = HttpsProxy("alphavantage.co", names, self._answer, lambda *_refused: None)
        self.proxy_url = self._proxy.url
        self.ca_bundle = self._proxy.ca_bundle

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._proxy.close()

    def serve(self, symbol: str, bars: Sequence[Bar]) -> None:
        """Know `symbol`, in Alpha Vantage's spelling, from now on."""
        self._bars[symbol] = bars

    def misbehave(self, how: str, times: int | None = None) -> None:
        """Answer so to everything, or `times` times."""
        self._how, self._left = Misbehaviour(how), repeat(None) if times is None else repeat(None, times)

    def forget(self) -> None:
        """Be as in the beginning."""
        self._how = None
        self.requests.clear()
        self._bars.clear()

    def _answer(self, method: str, host: str, target: str, body: bytes) -> Answer:
        with self._lock:
            query = dict(parse_qsl(urlsplit(target).query, keep_blank_values=True))
            self.requests.append(query)
            if self._how is not None and next(self._left, self) is None:
                return self._misbehave(self._how, query)
        return _json(self._series(query))

    def _series(self, query: Mapping[str, str]) -> dict[str, Any]:
        function, symbol = query.get("function", ""), query.get("symbol", "")
        if query.get("apikey") not in (KEY, PAID_KEY):
            claim = "Please claim your free API key on (https://www.alphavantage.co/support/#api-key)."
            return {"Error Message": f"the parameter apikey is invalid or missing. {claim}"}
        if function != "TIME_SERIES_DAILY":
            return {
                "Information": "Thank you for using Alpha Vantage! This is a premium endpoint. "
                f"{_PLANS} instantly unlock all premium endpoints"
            }
        full = query.get("outputsize") == "full"
        if full and query["apikey"] != PAID_KEY:
            return {
                "Information": "Thank you for using Alpha Vantage! The outputsize=full parameter value is a premium "
                f"feature for the {function} endpoint. {_PLANS} instantly unlock all premium features"
            }
        if symbol not in self._bars:
            pages = "the documentation (https://www.alphavantage.co/documentation/)"
            return {"Error Message": f"Invalid API call. Please retry or visit {pages} for {function}."}
        bars = sorted(self._bars[symbol], key=lambda bar: bar.date, reverse=True)
        return {
            "Meta Data": {
                "1. Information": "Daily Prices (open, high, low, close) and Volumes",
                "2. Symbol": symbol,
                "3. Last Refreshed": str(bars[0].date) if bars else "",
                "4. Output Size": "Full size" if full else "Compact",
                "5. Time Zone": "US/Eastern",
            },
            "Time Series (Daily)": {str(bar.date): _fields(bar) for bar in (bars if full else bars[:COMPACT])},
        }

    def _misbehave(self, how: Misbehaviour, query: Mapping[str, str]) -> Answer:
        if how in _TEXTS:
            kind, text = _TEXTS[how]
            return _json({kind: text.format(key=query.get("apikey"))})
        match how:
            case Misbehaviour.TOO_MANY:
                return Answer(429, b"Too Many Requests", "text/plain", {"Retry-After": "17"})
            case Misbehaviour.SERVER_ERROR:
                return Answer(503, b"<html>Service Unavailable</html>", "text/html")
            case Misbehaviour.HTML:
                return Answer(200, b"<html>Welcome</html>", "text/html")
            case Misbehaviour.MALFORMED:
                return Answer(200, b'{"Meta Data": {"1. Inform')
            case Misbehaviour.NESTED:
                return Answer(200, b"[" * 100_000)
            case Misbehaviour.LIST:
                return _json([])
            case Misbehaviour.EMPTY:
                return _json({})
            case Misbehaviour.REDIRECT:
                return Answer(302, headers={"Location": f"http://www.alphavantage.co/query?apikey={query['apikey']}"})
            case Misbehaviour.TIMEOUT:
                return Answer(None, hangs=True)
            case Misbehaviour.ENDLESS:
                return endless()
            case Misbehaviour.BOMB:
                return bomb()
            case Misbehaviour.NAN | Misbehaviour.MISSING_FIELD:
                series = self._series(query)
                newest = next(iter(series["Time Series (Daily)"].values()))
                del newest["4. close"]
                if how is Misbehaviour.NAN:
                    newest["4. close"] = "NaN"
                return _json(series)
        return Answer(None)


def _fields(bar: Bar) -> dict[str, str]:
    return {
        "1. open": f"{bar.open:.4f}",
        "2. high": f"{bar.high:.4f}",
        "3. low": f"{bar.low:.4f}",
        "4. close": f"{bar.close:.4f}",
        "5. volume": str(bar.volume),
    }


def _json(body: Any) -> Answer:
    return Answer(200, json.dumps(body, indent=4).encode(), "application/json")
