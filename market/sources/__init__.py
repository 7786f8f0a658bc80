"""Where market data comes from, in the order that `stock_jobs.data_fetch.sources` gives."""

from functools import cache

from django.conf import settings

from market.sources.base import History, Source, SourceError, SymbolNotFound
from market.sources.sample import SampleSource
from market.sources.yahoo_finance import YahooFinance


def fetch_history(symbol: str, days: int) -> History:
    """The first answer of the configured sources; a source that fails gives way to the next.

    That a symbol is unknown is an answer, unless a source before it failed, which might have known it. When
    every source fails, the first one's error is raised.
    """
    first_error: SourceError | None = None
    for source in configured_sources():
        try:
            return source.history(symbol, days)
        except SourceError as error:
            if isinstance(error, SymbolNotFound) and first_error is None:
                raise
            first_error = first_error or error
    raise first_error or SourceError("None of stock_jobs.data_fetch.sources is available here")


@cache
def configured_sources() -> tuple[Source, ...]:
    """One instance a process of each source that the configuration names and that is available here."""
    available: dict[str, type[Source]] = {YahooFinance.name: YahooFinance, SampleSource.name: SampleSource}
    return tuple(
        available[name]() for name in settings.JOB_PROCESSOR.stock_jobs.data_fetch.sources if name in available
    )
