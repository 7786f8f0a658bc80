"""Where market data comes from, in the order that `stock_jobs.data_fetch.sources` gives."""

from collections.abc import Iterable
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
    NewsSource,
    NotOffered,
    Source,
    SourceError,
    SymbolNotFound,
)
from market.sources.budget import Budget

CACHED = "cached"
"""What answers with the last good bars in the database, once no other source will be asked any more."""

# By name, as yfinance and pandas take a second to import and most processes never fetch anything.
_SOURCES = {
    "yahoo_finance": "market.sources.yahoo.source.YahooFinance",
    "alpha_vantage": "market.sources.alpha_vantage.AlphaVantage",
    "sample": "market.sources.sample.SampleSource",
}

_Offering = TypeVar("_Offering")


def fetch_history(symbol: str, start: date, end: date | None = None) -> History:
    """The bars from `start` to `end`, both included (None: to today), as the first of the configured sources has them.

    A source that fails gives way to the next. That a symbol is unknown is an answer, unless a source before it failed,
    which might have known it. When every source fails, the first error that may pass is raised, or else the first.
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
    none = SourceError("None of stock_jobs.data_fetch.sources is available here")
    raise max(errors, key=lambda error: (error.retryable, not isinstance(error, NotOffered)), default=none)


def fetch_news(symbol: str, count: int) -> list[Headline]:
    """The newest headlines about a stock, from the first of the configured sources that has news at all.

    NotOffered where none has.
    """
    offering = (source for source in configured_sources() if isinstance(source, NewsSource))
    return _first(offering, "news").news(symbol, count)


def fetch_fundamentals(symbol: str) -> Fundamentals:
    """What is known of a company, from the first of the configured sources that has fundamentals at all.

    NotOffered where none has.
    """
    offering = (source for source in configured_sources() if isinstance(source, FundamentalsSource))
    return _first(offering, "fundamentals").fundamentals(symbol)


def _first(offering: Iterable[_Offering], what: str) -> _Offering:
    for source in offering:
        return source
    raise NotOffered(f"None of stock_jobs.data_fetch.sources has {what}")


@cache
def configured_sources() -> tuple[Source, ...]:
    """One instance a process of each source that the configuration names and that is available here."""
    return tuple(import_string(_SOURCES[name])(Budget(name)) for name in available_sources())


def available_sources() -> list[str]:
    """The names of the sources that can be asked here, in the configured order."""
    names = (name for name in settings.JOB_PROCESSOR.stock_jobs.data_fetch.sources if name in _SOURCES)
    return [name for name in names if name != "alpha_vantage" or settings.ALPHA_VANTAGE_API_KEY]


def last_good_day(symbol: str) -> date | None:
    """The day of the newest bar that is stored; None where there is no bar, or `cached` is not one of the sources."""
    if CACHED not in settings.JOB_PROCESSOR.stock_jobs.data_fetch.sources:
        return None
    return PriceBar.objects.filter(stock__symbol=symbol).order_by("-date").values_list("date", flat=True).first()
