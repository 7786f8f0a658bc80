"""The HTTP session under yfinance: bounded in time, and it names what Yahoo's chart answers mean.

yfinance turns many failures into an empty table or an exception about something else, and memoises some bad
answers. Here they are told apart by status and body, before yfinance sees them.
"""

import json
import re
import threading
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote, urlsplit

from curl_cffi.requests import Response, Session

from market.sources.base import Allowance, MalformedAnswer, RateLimited, SourceDown, SymbolNotFound

LABEL = "Yahoo Finance"
CONNECT_TIMEOUT = 5.0

_CHART = re.compile(r"/v8/finance/chart/([^/?]+)")


class YahooSession(Session[Response]):
    """A curl_cffi session that looks like Chrome; no request takes longer than `limit` seconds.

    Each request is counted, those for cookies, crumbs and time zones too. One that is refused ends all of them for
    a while.
    """

    def __init__(
        self, allowance: Allowance, *, limit: float, proxy: str | None = None, ca_bundle: str | None = None
    ) -> None:
        verify: Any = ca_bundle or True  # declared as a bool, and read as curl_cffi's documentation says: or a path
        super().__init__(impersonate="chrome", proxy=proxy, verify=verify)
        self.limit = limit
        self._allowance = allowance
        self._refused = threading.local()

    def request(self, method: Any, url: str, **kwargs: Any) -> Response:  # type: ignore[override]
        asked = kwargs.pop("timeout", None)
        limit = min(asked, self.limit) if isinstance(asked, int | float) else self.limit
        connect = min(CONNECT_TIMEOUT, limit)
        # curl_cffi takes their sum as the limit of the whole request.
        self._allowance.spend()
        response = super().request(method, url, timeout=(connect, limit - connect), **kwargs)
        if response.status_code == HTTPStatus.TOO_MANY_REQUESTS:
            self._allowance.note_refusal(_retry_after(response))
            raise RateLimited(f"{LABEL} refused {_subject(url)}: too many requests (429)")
        self._allowance.note_answer()
        # An answer from elsewhere, such as the form that asks for consent to cookies, is yfinance's to deal with.
        if _CHART.search(url) and (chart := _CHART.search(response.url)):
            self._check(unquote(chart[1]), response)
        return response

    def _check(self, symbol: str, response: Response) -> None:
        """Let yfinance renew its cookie and crumb once when they are refused; then check the chart."""
        first = response.status_code in (401, 403) and getattr(self._refused, "symbol", None) != symbol
        self._refused.symbol = symbol if first else None
        if not first:
            _check_chart(symbol, response)


def _subject(url: str) -> str:
    """What a request is about: the symbol of a chart, or else the host."""
    chart = _CHART.search(url)
    return unquote(chart[1]) if chart else urlsplit(url).netloc


def _retry_after(response: Response) -> float | None:
    """The seconds that an answer asks to wait for; None where it does not say, or not in seconds."""
    value = response.headers.get("Retry-After") or ""
    return float(value) if value.isdecimal() else None


def no_data(symbol: str) -> SymbolNotFound:
    """The error for a symbol that Yahoo has nothing of."""
    return SymbolNotFound(f"{LABEL} has no data for {symbol}")


def _check_chart(symbol: str, response: Response) -> None:
    """Raise what a chart answer stands for, unless it is one that yfinance can read."""
    status = response.status_code
    if status in (401, 403):
        raise SourceDown(f"{LABEL} refused {symbol} ({status}), with a new cookie too")
    if status >= 500:
        raise SourceDown(f"{LABEL} answered {status} for {symbol}")
    if "Will be right back" in response.text:
        raise SourceDown(f"{LABEL} says that it is down for now")
    try:
        chart = json.loads(response.content)["chart"]
        error = chart["error"]
    except (ValueError, TypeError, KeyError):
        raise MalformedAnswer(f"{LABEL} sent an answer for {symbol} that is not a chart") from None
    if status == 404 and error:
        raise no_data(symbol)
