"""The sources of market data, in the order of `stock_jobs.data_fetch.sources`."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from functools import cache
from typing import TypeVar

from django.conf import settings
from django.utils.module_loading import import_string

from market.models import PriceBar
from market.sources.base import (
    Fundamentals,
    FundamentalsSource,
    Headline,
    History,
    Listed,
    NameSearch,
    NewsSource,
    NotOffered,
    Quote,
    QuoteSource,
    Source,
    SourceError,
    SymbolNotFound,
)
from market.sources.budget import Budget

CACHED = "cached"
"""The name for the last good bars in the database, used after every source has failed."""

# By name, as yfinance and pandas take a second to import and most processes never fetch anything.
_SOURCES = {
    "yahoo_finance": "market.sources.yahoo.source.YahooFinance",
    "alpha_vantage": "market.sources.alpha_vantage.AlphaVantage",
    "sample": "market.sources.sample.SampleSource",
}

_OFFERED = {
    "yahoo_finance": ("prices", "quotes", "news", "fundamentals", "search"),
    "alpha_vantage": ("prices",),
    "sample": ("prices",),
}
"""The kinds of data of each source."""
_WITHOUT_LIMIT = ("sample",)

_Offering = TypeVar("_Offering")


def fetch_history(symbol: str, start: date, end: date | None = None) -> History:
    """The bars from `start` to `end`, both included (None: to today), from the first configured source that answers.

    After an error of a source, the next source is asked. An unknown symbol is an answer, unless an earlier source
    failed and might have known the symbol. If every source fails, the first retryable error is raised, or else the
    first error.
    """
    errors: list[SourceError] = []
    for source in configured_sources():
        try:
            return source.history(symbol, start, end)
        except SymbolNotFound:
            if all(isinstance(error, NotOffered) for error in errors):
                raise
        except SourceError as error:
            errors.append(error)
    none = SourceError("No source of stock_jobs.data_fetch.sources is available")
    raise max(errors, key=lambda error: (error.retryable, not isinstance(error, NotOffered)), default=none)


def fetch_quotes(symbols: Sequence[str]) -> dict[str, Quote | str]:
    """The quote of each symbol, or the reason why there is none, from the first configured source.

    NotOffered if that source has no quotes. Asking a later source would put it before the first.
    """
    first = next(iter(configured_sources()), None)
    if not isinstance(first, QuoteSource):
        raise NotOffered("the first source of stock_jobs.data_fetch.sources has no quotes")
    return first.quotes(symbols)


def prepare_quotes() -> None:
    """Let the first configured source prepare requests for quotes. Raises SourceError."""
    first = next(iter(configured_sources()), None)
    if isinstance(first, QuoteSource):
        first.prepare()


def fetch_news(symbol: str, count: int) -> list[Headline]:
    """The newest headlines about a stock, from the first configured source with news.

    NotOffered if no source has news.
    """
    offering = (source for source in configured_sources() if isinstance(source, NewsSource))
    return _first(offering, "news").news(symbol, count)


def fetch_fundamentals(symbol: str) -> Fundamentals:
    """A company's fundamentals, from the first configured source with fundamentals.

    NotOffered if no source has fundamentals.
    """
    offering = (source for source in configured_sources() if isinstance(source, FundamentalsSource))
    return _first(offering, "fundamentals").fundamentals(symbol)


def search_by_name(name: str) -> list[Listed]:
    """What the first configured source with a search lists under a name. NotOffered if no source has a search."""
    offering = (source for source in configured_sources() if isinstance(source, NameSearch))
    return _first(offering, "a search").search(name)


def _first(offering: Iterable[_Offering], what: str) -> _Offering:
    for source in offering:
        return source
    raise NotOffered(f"No source of stock_jobs.data_fetch.sources has {what}")


@cache
def configured_sources() -> tuple[Source, ...]:
    """The available configured sources, one instance of each in a process."""
    return tuple(import_string(_SOURCES[name])(Budget(name)) for name in available_sources())


def first_has_quotes() -> bool:
    """Whether the first configured source has quotes. Imports no source."""
    return "quotes" in _OFFERED.get(next(_available(), ""), ())


def limiting(kind: str) -> list[str]:
    """The available sources of a kind of data, in order; empty if a source without a rate limit offers it, too."""
    sources = _offering(kind)
    return [] if any(source in _WITHOUT_LIMIT for source in sources) else sources


def _offering(kind: str) -> list[str]:
    return [source for source in available_sources() if kind in _OFFERED[source]]


def available_sources() -> list[str]:
    """The names of the available sources, in the configured order."""
    return list(_available())


def _available() -> Iterator[str]:
    for name in settings.JOB_PROCESSOR.stock_jobs.data_fetch.sources:
        if name in _SOURCES and (name != "alpha_vantage" or settings.ALPHA_VANTAGE_API_KEY):
            yield name


def last_good_day(symbol: str) -> date | None:
    """The day of the newest stored bar; None without a bar, or if `cached` is not a configured source."""
    if CACHED not in settings.JOB_PROCESSOR.stock_jobs.data_fetch.sources:
        return None
    return PriceBar.objects.filter(stock__symbol=symbol).order_by("-date").values_list("date", flat=True).first()
