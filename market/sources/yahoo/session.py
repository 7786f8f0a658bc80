"""The HTTP session under yfinance, which turns Yahoo's failures into errors with a name.

yfinance turns many failures into an empty table or an unrelated exception, and memoises some bad answers. The session
tells failures apart by status and body, before yfinance sees the answer.
"""

import json
import re
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any, NoReturn
from urllib.parse import unquote

from curl_cffi.requests import Response
from django.utils import timezone
from yfinance.exceptions import YFRateLimitError

from market.sources.base import Allowance, MalformedAnswer, NoBars, SourceBusy, SourceDown, SourceError, SymbolNotFound
from market.sources.budget import clock, pause_after
from market.sources.http import SourceSession, retry_after
from market.sources.yahoo.charts import DAILY, granularity_of, mend_chart
from market.sources.yahoo.crumb import SharedCrumb, is_crumb
from market.sources.yahoo.splits import note_splits

LABEL = "Yahoo Finance"

_CHART = re.compile(r"/v8/finance/chart/([^/?]+)")
_SUMMARY = re.compile(r"/v10/finance/quoteSummary/([^/?]+)")
_NEWS = "/xhr/ncp?"
_QUOTES = "/v7/finance/quote?"
_SEARCH = "/v1/finance/search?"
_CRUMB = "/v1/test/getcrumb"
_FOR_CRUMB = re.compile(rf"^https://(fc|guce|consent)\.yahoo\.com\b|{_CRUMB}")
"""The addresses for yfinance's cookie and crumb, which go with every request. Quotes and summaries need the crumb."""
_REFUSALS = (HTTPStatus.TOO_MANY_REQUESTS, 999)


class YahooSession(SourceSession):
    """A session that looks like Chrome. Requests for cookies and crumbs are counted too.

    After a refused cookie or crumb, only cookies and crumbs pause. Charts and news go on without a crumb; quotes and
    summaries raise SourceBusy.
    """

    def __init__(
        self,
        allowance: Allowance,
        crumb: SharedCrumb,
        *,
        limit: float,
        proxy: str | None = None,
        ca_bundle: str | None = None,
    ) -> None:
        super().__init__(LABEL, allowance, limit=limit, proxy=proxy, ca_bundle=ca_bundle, impersonate="chrome")
        self._crumb = crumb
        self._refused = threading.local()
        self._crumb_refusals = 0
        self._no_crumb_until: datetime | None = None

    def subject_of(self, url: str) -> str:
        """The symbol of a chart or summary, "news", "quotes", "a search", or else the host."""
        if of_symbol := _CHART.search(url) or _SUMMARY.search(url):
            return unquote(of_symbol[1])
        named = {"news": _NEWS, "quotes": _QUOTES, "a search": _SEARCH}
        return next((name for name, part in named.items() if part in url), None) or super().subject_of(url)

    def request(self, method: Any, url: str, **kwargs: Any) -> Response:  # type: ignore[override]
        self._check_crumb(url, kwargs.get("params") or {})
        if _CRUMB in url and (crumb := self.shared_crumb()):
            return _answer(url, crumb)
        response = super().request(method, url, **kwargs)
        self.allowance.note_answer()
        if _CRUMB in url and response.status_code == HTTPStatus.OK:
            self._note_crumb(url, response)
        # yfinance handles answers from elsewhere, such as the form for consent to cookies.
        if _CHART.search(url) and (chart := _CHART.search(response.url)):
            self._check(unquote(chart[1]), response, _check_chart)
        elif _SUMMARY.search(url) and (summary := _SUMMARY.search(response.url)):
            self._check(unquote(summary[1]), response, _check_summary)
        elif _NEWS in url and _NEWS in response.url:
            self._check("news", response, _check_news)
        elif _QUOTES in url and _QUOTES in response.url:
            self._check("quotes", response, _check_quotes)
        elif _SEARCH in url and _SEARCH in response.url:
            self._check("a search", response, _check_search)
        return response

    def is_refusal(self, response: Response) -> bool:
        status = response.status_code
        return status in _REFUSALS or (status == HTTPStatus.OK and _is_page_of_refusal(response.content))

    def refuse(self, url: str, response: Response) -> NoReturn:
        if not _FOR_CRUMB.search(url):
            super().refuse(url, response)
        self._no_crumb_until = timezone.now() + pause_after(self._crumb_refusals, retry_after(response))
        self._crumb_refusals += 1
        raise YFRateLimitError  # yfinance goes on without a crumb

    def shared_crumb(self) -> str | None:
        """The crumb of this session's cookie, perhaps of another process; None if there is none."""
        return self._crumb.read(self._cookie())

    def needs_crumb(self) -> bool:
        """Whether the shared crumb has to be fetched or renewed soon, and Yahoo may be asked for it."""
        is_paused = self._no_crumb_until is not None and self._no_crumb_until > timezone.now()
        return not is_paused and self._crumb.needs_renewal()

    def forget_crumb(self) -> None:
        """Ask Yahoo for the next crumb, and no file."""
        self._crumb.forget()

    def _note_crumb(self, url: str, response: Response) -> None:
        """Share a crumb with other processes. An answer that is no crumb counts as refused: yfinance would keep it."""
        if not is_crumb(response.text):
            self.refuse(url, response)
        self._crumb_refusals = 0
        self._crumb.write(self._cookie(), response.text)

    def _cookie(self) -> str:
        """The cookie that the crumb belongs to; empty if there is none yet."""
        return next((cookie.value or "" for cookie in self.cookies.jar if cookie.name == "A3"), "")

    def _check_crumb(self, url: str, params: Mapping[str, Any]) -> None:
        """During the pause after a refused crumb, reject requests for a crumb, and requests that lack it."""
        until = self._no_crumb_until
        if until is None or until <= timezone.now():
            return
        if _FOR_CRUMB.search(url):
            raise YFRateLimitError
        if (_SUMMARY.search(url) or _QUOTES in url) and "crumb" not in params:
            what = "quotes" if _QUOTES in url else "fundamentals"
            again = f"the next attempt is at {clock(until)}"
            raise SourceBusy(f"{LABEL} refused the crumb that {what} need; {again}", until, f"a crumb of {LABEL}")

    def _check(self, subject: str, response: Response, check: Callable[[str, Response], None]) -> None:
        """Let yfinance renew a refused cookie and crumb once; then check the answer."""
        first = response.status_code in (401, 403) and getattr(self._refused, "subject", None) != subject
        self._refused.subject = subject if first else None
        if first:
            self._crumb.forget()
        else:
            _check_status(subject, response)
            check(subject, response)


def _answer(url: str, text: str) -> Response:
    """An answer without a request."""
    response = Response()
    response.url, response.status_code, response.content = url, HTTPStatus.OK, text.encode()
    return response


def no_data(symbol: str) -> SymbolNotFound:
    """The error for a symbol without any data at Yahoo."""
    return SymbolNotFound(f"{LABEL} has no data for {symbol}")


def no_prices(symbol: str) -> NoBars:
    """The error for a symbol that Yahoo knows, and has no prices of."""
    return NoBars(f"{LABEL} has no prices of {symbol} in the requested days")


def no_fundamentals(symbol: str) -> SymbolNotFound:
    """The error for a symbol without fundamentals at Yahoo."""
    return SymbolNotFound(f"{LABEL} has no fundamentals of {symbol}")


def _is_page_of_refusal(content: bytes) -> bool:
    """Whether an answer is a page or text about too many requests. Data would be JSON."""
    return content.lstrip()[:1] not in (b"{", b"[") and b"too many requests" in content.lower()


def _check_status(subject: str, response: Response) -> None:
    """Raise the error for statuses and texts common to all addresses."""
    status = response.status_code
    if status in (401, 403):
        raise SourceDown(f"{LABEL} refused {subject} ({status}), even with a new cookie")
    if status >= 500:
        raise SourceDown(f"{LABEL} answered {status} for {subject}")
    if "Will be right back" in response.text:
        raise SourceDown(f"{LABEL} reports that it is down")


def _check_chart(symbol: str, response: Response) -> None:
    """Raise the error behind a chart answer, unless yfinance can read the answer."""
    try:
        answer = json.loads(response.content)
        error = answer["chart"]["error"]
        if not error:
            answer["chart"]["result"][0]["meta"]  # a chart without bars has these facts, too
    except (ValueError, TypeError, LookupError, RecursionError):
        raise MalformedAnswer(f"{LABEL} sent an answer for {symbol} that is not a chart") from None
    if response.status_code == 404 and error:
        raise no_data(symbol)
    if (granularity := granularity_of(answer)) != DAILY:
        raise MalformedAnswer(f"{LABEL} sent rows of {granularity} for {symbol} in place of days")
    has_splits = note_splits(answer)
    if mend_chart(answer) or has_splits:
        response.content = json.dumps(answer).encode()


def _check_news(subject: str, response: Response) -> None:
    """Raise the error behind an answer with news, unless yfinance can read the answer."""
    if response.status_code >= 400:
        raise SourceError(f"{LABEL} answered {response.status_code} for {subject}")
    try:
        stream = json.loads(response.content)["data"]["tickerStream"]["stream"]
    except (ValueError, TypeError, KeyError, RecursionError):
        stream = None
    if not isinstance(stream, list) or not all(isinstance(article, dict) for article in stream):
        raise MalformedAnswer(f"{LABEL} sent an answer without {subject}")


def _check_quotes(subject: str, response: Response) -> None:
    """Raise the error behind an answer with quotes, unless some of it can be read."""
    if response.status_code >= 400:
        raise SourceError(f"{LABEL} answered {response.status_code} for {subject}")
    try:
        quotes = json.loads(response.content)["quoteResponse"]["result"]
    except (ValueError, TypeError, KeyError, RecursionError):
        quotes = None
    if not isinstance(quotes, list):
        raise MalformedAnswer(f"{LABEL} sent an answer without {subject}")


def _check_search(subject: str, response: Response) -> None:
    """Raise the error behind an answer to a search, unless some of it can be read."""
    if response.status_code >= 400:
        raise SourceError(f"{LABEL} answered {response.status_code} for {subject}")
    try:
        found = json.loads(response.content)["quotes"]
    except (ValueError, TypeError, KeyError, RecursionError):
        found = None
    if not isinstance(found, list):
        raise MalformedAnswer(f"{LABEL} sent no answer to {subject}")


def _check_summary(symbol: str, response: Response) -> None:
    """Raise the error behind an answer with a summary, unless yfinance can read the answer."""
    status = response.status_code
    if status >= 400 and status != 404:
        raise SourceError(f"{LABEL} answered {status} for {symbol}")
    try:
        summary = json.loads(response.content)["quoteSummary"]
        result, error = summary["result"], summary["error"]
    except (ValueError, TypeError, KeyError, RecursionError):
        result = error = None
    if status == 404 and error:
        raise no_fundamentals(symbol)
    if status == 404 or not isinstance(result, list) or not all(isinstance(found, dict) for found in result):
        raise MalformedAnswer(f"{LABEL} sent an answer for {symbol} that is not a summary")
