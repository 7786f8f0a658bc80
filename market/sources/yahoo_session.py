"""The HTTP session under yfinance, which names what Yahoo's chart answers mean.

yfinance turns many failures into an empty table or an exception about something else, and memoises some bad
answers. Here they are told apart by status and body, before yfinance sees them.
"""

import json
import re
import threading
from typing import Any
from urllib.parse import unquote

from curl_cffi.requests import Response

from market.sources.base import Allowance, MalformedAnswer, SourceDown, SymbolNotFound
from market.sources.http import SourceSession

LABEL = "Yahoo Finance"

_CHART = re.compile(r"/v8/finance/chart/([^/?]+)")


class YahooSession(SourceSession):
    """A session that looks like Chrome. Requests for cookies, crumbs and time zones are counted too."""

    def __init__(
        self, allowance: Allowance, *, limit: float, proxy: str | None = None, ca_bundle: str | None = None
    ) -> None:
        super().__init__(LABEL, allowance, limit=limit, proxy=proxy, ca_bundle=ca_bundle, impersonate="chrome")
        self._refused = threading.local()

    def subject_of(self, url: str) -> str:
        """The symbol of a chart, or else the host."""
        chart = _CHART.search(url)
        return unquote(chart[1]) if chart else super().subject_of(url)

    def request(self, method: Any, url: str, **kwargs: Any) -> Response:  # type: ignore[override]
        response = super().request(method, url, **kwargs)
        self.allowance.note_answer()
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
    except (ValueError, TypeError, KeyError, RecursionError):
        raise MalformedAnswer(f"{LABEL} sent an answer for {symbol} that is not a chart") from None
    if status == 404 and error:
        raise no_data(symbol)
