"""Keeps general market data fresh: indices, currencies, crypto and futures that everybody looks at."""

from django.conf import settings
from django.utils import timezone

from market.freshness import stale_at
from market.models import Stock
from market.symbols import parse_symbol
from tasks.models import Job
from tasks.requests import Requested, request_batches


def watched_symbols() -> list[str]:
    """The symbols of `market.watchlist`, each once."""
    return list(dict.fromkeys(parse_symbol(text) for text in settings.JOB_PROCESSOR.market.watchlist))


def fetch_watchlist() -> Requested:
    """Ask for what is stale of `market.watchlist`, in batches. Stocks that are not known yet are created."""
    symbols = watched_symbols()
    if not symbols:
        return Requested()
    Stock.objects.bulk_create((Stock(symbol=symbol) for symbol in symbols), ignore_conflicts=True)
    known = Stock.objects.in_bulk(symbols, field_name="symbol")
    stale = stale_at((known[symbol] for symbol in symbols), timezone.now())
    return request_batches(stale, Job.Trigger.SCHEDULED_UPDATE)
