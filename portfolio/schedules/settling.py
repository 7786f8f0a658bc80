"""Settles prices: fetches the charts of stocks whose bars come from quotes.

A chart also has what a quote lacks: adjusted closes, splits, dividends and late corrections.
"""

import math
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from market.freshness import Freshness
from market.jobs.limits import requests_left
from market.jobs.requests import request_batches
from market.models import Stock
from portfolio.schedules.warming import kept_stocks
from tasks.enqueue import EnqueueResult
from tasks.models import Job

EVERY = timedelta(days=7)
"""The age at which a chart is fetched again."""
PACE = timedelta(minutes=10)
"""The time between two runs of the schedule."""
HEADROOM = 2
"""The pace at which the charts of a week are fetched, so that runs may be missed."""
WITHOUT_CLOSE = timedelta(days=1)
"""The time before a stock with a reason is settled, if its exchange never closes or is unknown."""


def fetch_settle() -> EnqueueResult:
    """Enqueue the charts that are due, within half of the background's requests.

    The charts after a session with a reason come first. The charts of a week are spread evenly over its days.
    """
    if not settings.JOB_PROCESSOR.stock_jobs.settle.enabled:
        return EnqueueResult()
    now = timezone.now()
    left = requests_left("prices", Job.Queue.BACKGROUND_FETCH)
    chosen = due_stocks(now)
    return request_batches(chosen if left is None else chosen[: left // 2], Job.Trigger.MAINTENANCE, charts=True)


def due_stocks(now: datetime) -> list[Stock]:
    """The stocks to settle in a run of the schedule."""
    kept = kept_stocks().filter(status=Stock.Status.ACTIVE, checked_at__isnull=False)
    with_reason = _after_close(kept.filter(needs_settling=True), now)
    old = kept.filter(Q(charted_at=None) | Q(charted_at__lt=now - EVERY))
    most = math.ceil(HEADROOM * kept.count() * PACE / EVERY)
    # In any order: a stock whose charts fail must not keep others from their turn.
    others = old.exclude(pk__in=[stock.pk for stock in with_reason]).order_by("?")[:most]
    return [*with_reason, *others]


def _after_close(stocks: Iterable[Stock], now: datetime) -> Sequence[Stock]:
    """The stocks whose session with a reason is over, and whose prices are settled."""
    stocks = list(stocks)
    freshness = Freshness.of(stocks, now)
    return [stock for stock in stocks if _is_over(stock, freshness, now)]


def _is_over(stock: Stock, freshness: Freshness, now: datetime) -> bool:
    if stock.charted_at is None or stock.charted_at < now - WITHOUT_CLOSE:
        return True
    settled = freshness.settled_at(stock.exchange)
    return settled is not None and stock.charted_at < settled <= now
