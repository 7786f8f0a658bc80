"""Keeps general market data fresh: indices, currencies, crypto and futures of interest to everybody."""

from django.conf import settings
from django.utils import timezone

from market.freshness import stale_at
from market.jobs.requests import request_batches
from market.models import Stock
from market.symbols import parse_symbol
from tasks.enqueue import EnqueueResult
from tasks.models import Job


def watched_symbols() -> list[str]:
    """The symbols of `market.watchlist`, each once."""
    return list(dict.fromkeys(parse_symbol(text) for text in settings.JOB_PROCESSOR.market.watchlist))


def fetch_watchlist() -> EnqueueResult:
    """Enqueue batch fetches for the stale stocks of `market.watchlist`. Unknown stocks are created."""
    symbols = watched_symbols()
    if not symbols:
        return EnqueueResult()
    stale = stale_at(Stock.objects.find_or_create(symbols), timezone.now())
    return request_batches(stale, Job.Trigger.SCHEDULED_UPDATE)
