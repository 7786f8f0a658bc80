"""Yahoo Finance through yfinance."""

import fcntl
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from json import JSONDecodeError
from typing import Any, TypeVar
from urllib.parse import quote

import yfinance
from curl_cffi.requests import exceptions as http
from django.conf import settings
from django.utils import timezone
from peewee import PeeweeException
from yfinance.cache import get_cookie_cache, get_tz_cache
from yfinance.data import YfData
from yfinance.exceptions import YFException, YFPricesMissingError, YFRateLimitError, YFTickerMissingError

from market.sources.base import (
    Allowance,
    Fundamentals,
    Headline,
    History,
    Listed,
    MalformedAnswer,
    Quote,
    RateLimited,
    SourceDown,
    SourceTimeout,
    SourceUnreachable,
    Unlimited,
)
from market.sources.http import reason_of
from market.sources.yahoo.charts import day_of, dividend_days, read_bars, splits_of
from market.sources.yahoo.crumb import SharedCrumb
from market.sources.yahoo.news import read_articles
from market.sources.yahoo.quotes import read_quotes
from market.sources.yahoo.search import read_listed
from market.sources.yahoo.session import LABEL, YahooSession, no_data, no_fundamentals, no_prices
from market.sources.yahoo.splits import noted_splits
from market.sources.yahoo.summary import MODULES, read_summary

SUMMARIES = "https://query2.finance.yahoo.com/v10/finance/quoteSummary/"
QUOTES = "https://query1.finance.yahoo.com/v7/finance/quote?"
SEARCH = "https://query2.finance.yahoo.com/v1/finance/search?"
MOST_LISTED = 20
"""The most symbols that a search returns."""
SEARCH_TIMEOUT = 8.0
"""Seconds for a search: the page of the person who typed asks no longer, and the worker has fetches to do."""

# yfinance forces its DeprecationWarnings to be shown. Users cannot fix the warnings about its use of pandas, and every
# answer would log them.
warnings.filterwarnings("ignore", category=DeprecationWarning, module="^yfinance")

# Exceptions of yfinance for an answer without an expected part.
_MISREADINGS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)

_Answer = TypeVar("_Answer")
_DAY = timedelta(days=1)


class YahooFinance:
    """The source; its threads share one session (yfinance keeps cookie and crumb in a singleton)."""

    name = "yahoo_finance"
    label = LABEL

    def __init__(self, allowance: Allowance | None = None) -> None:
        self._limit = float(settings.JOB_PROCESSOR.integration.apis.yahoo_finance.timeout)
        cache = settings.VAR / "yfinance"
        cache.mkdir(parents=True, exist_ok=True)
        yfinance.set_tz_cache_location(str(cache))
        with (cache / "lock").open("w") as lock:
            # Processes that start together must not create yfinance's caches together: "database is locked".
            fcntl.flock(lock, fcntl.LOCK_EX)
            get_tz_cache().lookup("")
            get_cookie_cache().lookup("")
        yfinance.config.debug.hide_exceptions = False
        yfinance.config.network.proxy = settings.YAHOO_PROXY
        self._session = YahooSession(
            allowance or Unlimited(),
            SharedCrumb(cache / "crumb.json"),
            limit=self._limit,
            proxy=settings.YAHOO_PROXY,
            ca_bundle=settings.YAHOO_CA_BUNDLE,
        )

    def history(self, symbol: str, start: date, end: date | None = None) -> History:
        return _whatever_the_cache(lambda: self._ask(symbol, start, end))

    def quotes(self, symbols: Sequence[str]) -> dict[str, Quote | str]:
        return _whatever_the_cache(lambda: self._ask_for_quotes(symbols))

    def prepare(self) -> None:
        if self._session.needs_crumb():
            _whatever_the_cache(self._renew_crumb)

    def news(self, symbol: str, count: int) -> list[Headline]:
        return _whatever_the_cache(lambda: self._ask_for_news(symbol, count))

    def fundamentals(self, symbol: str) -> Fundamentals:
        return _whatever_the_cache(lambda: self._ask_for_fundamentals(symbol))

    def search(self, name: str) -> list[Listed]:
        return _whatever_the_cache(lambda: self._search(name))

    def _ask(self, symbol: str, start: date, end: date | None) -> History:
        before = end and end + _DAY  # Yahoo's end is not included
        if end is not None:
            self._forget_memoised_answers()
        with self._naming_errors(symbol):
            ticker = self._ticker(symbol)
            # yfinance would ask for the exchange's time zone first, at the cost of a request, to know when days begin.
            ticker._tz = "UTC"
            frame = ticker.history(
                start=start - _DAY, end=before, auto_adjust=False, timeout=self._limit, **_WITHOUT_NEEDLESS_PASSES
            )
            frame = frame.loc[str(start) : end and str(end)]
            about: dict[str, Any] = ticker.history_metadata
            bars = read_bars(frame)
            actions = {*splits_of(frame), *dividend_days(frame)}
        if not bars:
            raise no_prices(symbol)
        return History(
            symbol,
            self.name,
            bars,
            name=str(about.get("longName") or about.get("shortName") or ""),
            exchange=str(about.get("exchangeName") or ""),
            currency=str(about.get("currency") or ""),
            actions=tuple(sorted(actions)),
            splits=noted_splits(about, bars[0].date),
            begins=day_of(about.get("firstTradeDate")),
        )

    def _ask_for_quotes(self, symbols: Sequence[str]) -> dict[str, Quote | str]:
        params = {"symbols": ",".join(symbols), "formatted": "false"}
        with self._naming_errors("quotes"):
            data = YfData(session=self._session)
            if self._session.shared_crumb() not in (None, data._crumb):
                data._crumb = None  # another process has renewed the crumb; yfinance reads it, without a request
            answer = data.get_raw_json(QUOTES, params=params, timeout=self._limit)
        return read_quotes(answer, symbols, self.name, timezone.now())

    def _search(self, name: str) -> list[Listed]:
        params = {"q": name, "quotesCount": MOST_LISTED, "newsCount": 0, "listsCount": 0}
        limit = min(self._limit, SEARCH_TIMEOUT)
        with self._naming_errors("a search", limit):
            return read_listed(YfData(session=self._session).get_raw_json(SEARCH, params=params, timeout=limit))

    def _renew_crumb(self) -> None:
        with self._naming_errors("a crumb"):
            data = YfData(session=self._session)
            self._session.forget_crumb()
            data._crumb = None
            data._get_cookie_and_crumb(self._limit)

    def _ask_for_news(self, symbol: str, count: int) -> list[Headline]:
        with self._naming_errors(symbol):
            return read_articles(self._ticker(symbol).get_news(count=count))

    def _ask_for_fundamentals(self, symbol: str) -> Fundamentals:
        # A single request: yfinance's own `Ticker.info` takes three of a scarce budget, with a quote and a series.
        params = {"modules": ",".join(MODULES), "corsDomain": "finance.yahoo.com", "formatted": "false"}
        with self._naming_errors(symbol):
            url = SUMMARIES + quote(self._ticker(symbol).ticker, safe="")
            found = read_summary(YfData(session=self._session).get_raw_json(url, params=params, timeout=self._limit))
        if found is None:
            raise no_fundamentals(symbol)
        return found

    @contextmanager
    def _naming_errors(self, symbol: str, limit: float | None = None) -> Iterator[None]:
        """Turn the exceptions of yfinance in the block into SourceError. `limit`: seconds of a request, if shorter."""
        try:
            yield
        except YFPricesMissingError:
            raise no_prices(symbol) from None
        except YFTickerMissingError:
            raise no_data(symbol) from None
        except YFRateLimitError:
            raise RateLimited(f"{LABEL} refused {symbol}: too many requests (429)") from None
        except http.Timeout:
            seconds = f"{limit or self._limit:g} s"
            raise SourceTimeout(f"{LABEL} did not answer for {symbol} in time (at most {seconds})") from None
        except http.RequestException as error:
            raise SourceUnreachable(f"{LABEL} could not be reached for {symbol}: {reason_of(error)}") from None
        except YFException as error:
            raise SourceDown(f"{LABEL} failed for {symbol}: {error}") from error
        except _MISREADINGS as error:
            self._forget_memoised_answers()
            raise MalformedAnswer(f"{LABEL} sent an answer for {symbol} that yfinance cannot read") from error

    def _ticker(self, symbol: str) -> yfinance.Ticker:
        try:
            return yfinance.Ticker(symbol, session=self._session)  # resolves an ISIN by a request to Yahoo
        except JSONDecodeError:
            raise
        except ValueError:
            raise no_data(symbol) from None

    def _forget_memoised_answers(self) -> None:
        # yfinance keeps answers for ranges in the past for the life of the process, even bad answers. They change with
        # the next split.
        YfData.cache_get.cache_clear()


def _whatever_the_cache(ask: Callable[[], _Answer]) -> _Answer:
    try:
        return ask()
    except PeeweeException:
        # Two processes wrote their first cookie to yfinance's cache at the same moment, which yfinance does not
        # expect. The second attempt finds the cookie of the other process.
        return ask()


_WITHOUT_NEEDLESS_PASSES: Any = {"actions": True, "keepna": True}
"""Spares yfinance two passes over its table, a fifth of its time: the passes remove only data ignored here."""
