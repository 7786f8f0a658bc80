"""Keeps stocks warm: held and watched stocks are fetched shortly before their data is stale.

So logins find everything fresh.
"""

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from django.conf import settings
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Subquery, Sum
from django.utils import timezone

from market.freshness import NEVER, STALE, Checked, Freshness
from market.jobs.fetches.parameters import quote_size
from market.jobs.limits import requests_left
from market.jobs.requests import request_batches
from market.jobs.watchlist import watched_symbols
from market.models import Stock
from market.sources import prepare_quotes
from market.sources.base import SourceError
from market.sources.budget import spending
from portfolio.models import Holding, PortfolioPriority, PriceAlert
from portfolio.references import benchmarks_in_use, find_references, rates_in_use
from tasks.enqueue import EnqueueResult
from tasks.models import Job

PATIENCE = timedelta(seconds=90)
"""A stock that goes stale within this time is fetched now: the next run is a minute away, and a fetch takes time."""

logger = logging.getLogger(__name__)

_Stock = TypeVar("_Stock", bound=Checked)


def fetch_warm() -> EnqueueResult:
    """Enqueue batches of the stocks that go stale soon, as far as the background's share of the budget reaches.

    If the budget does not suffice, the stocks that are most likely wanted come first.
    """
    now, size, ahead = timezone.now(), quote_size(), time_ahead()
    if not settings.JOB_PROCESSOR.stock_jobs.warm.enabled or not ahead:
        return EnqueueResult()
    find_references(rates_in_use())
    going_stale = GoingStale(now, ahead, Stock.objects.order_by().values_list("exchange", flat=True).distinct())
    found = [stock for stock in _wanted(going_stale.in_sql()) if going_stale.includes(stock)]
    chosen = fill_batches(found, going_stale.is_urgent, size, requests_left("prices", Job.Queue.BACKGROUND_FETCH))
    return request_batches(chosen, Job.Trigger.SCHEDULED_UPDATE, size=size, ahead=ahead)


def keep_ready() -> None:
    """Prepare the source for requests for quotes. A failure is logged, and the next run tries again."""
    rules = settings.JOB_PROCESSOR.stock_jobs
    if not rules.warm.enabled or quote_size() == 1:
        return
    try:
        with spending(rules.data_fetch.background_share):
            prepare_quotes()
    except SourceError as error:
        logger.warning("the source is not ready for quotes: %s", error)


def time_ahead() -> timedelta:
    """`warm.ahead`, or half of the shortest limit of freshness, if that is less."""
    rules = settings.JOB_PROCESSOR
    schedule, limit = rules.portfolio.freshness_schedule, rules.stock_jobs.portfolio_priority.data_staleness_threshold
    shortest = limit if schedule is None else min(vars(schedule).values())
    return timedelta(minutes=min(rules.stock_jobs.warm.ahead, shortest / 2))


class GoingStale:
    """Which stocks go stale within `ahead`, and can have changed since their check."""

    def __init__(self, now: datetime, ahead: timedelta, exchanges: Iterable[str]) -> None:
        exchanges = frozenset(exchanges)
        self._now = Freshness(now, exchanges)
        self._soon = Freshness(now + min(PATIENCE, ahead), exchanges)
        self._later = Freshness(now + ahead, exchanges)

    def includes(self, stock: Checked) -> bool:
        # An exchange that opens within the time has no new prices yet.
        return self._later.is_stale(stock) and self._now.closed_since(stock) is None

    def is_urgent(self, stock: Checked) -> bool:
        """Whether the stock has to be fetched now."""
        return self._soon.is_stale(stock)

    def in_sql(self) -> Any:
        """The state of a stock at the end of the time, for the rows of stocks."""
        return self._later.state_in_sql()


def fill_batches(
    stocks: Sequence[_Stock], is_urgent: Callable[[_Stock], bool], size: int, requests: int | None
) -> list[_Stock]:
    """The stocks to fetch now, in batches of `size`: at most `requests` batches (None: no limit).

    Urgent stocks need a batch. Other stocks wait, as each early fetch brings the next fetch forward, and only fill the
    last batch. The first stocks come first.
    """
    urgent = [stock for stock in stocks if is_urgent(stock)]
    others = [stock for stock in stocks if not is_urgent(stock)]
    batches = math.ceil(len(urgent) / size)
    if requests is not None:
        batches = min(batches, requests)
    return [*urgent, *others][: batches * size]


def kept_stocks() -> QuerySet[Stock]:
    """The stocks that active users hold or have alerts on, their references, and the watchlist's; also parked ones."""
    held = Holding.objects.filter(stock=OuterRef("pk"), portfolio__user__is_active=True)
    alerts = PriceAlert.objects.filter(stock=OuterRef("pk"), user__is_active=True)
    others = {*watched_symbols(), *rates_in_use(), *benchmarks_in_use()}
    return Stock.objects.filter(Q(Exists(held)) | Q(Exists(alerts)) | Q(symbol__in=others))


def _wanted(state: Any) -> list[Any]:
    """The stocks to keep warm that will be stale, the stocks of most interest to their holders first."""
    scores = PortfolioPriority.objects.filter(stock=OuterRef("pk"), is_active=True, user__is_active=True)
    interest = scores.order_by().values("stock").annotate(sum=Sum("priority_score")).values("sum")
    wanted = kept_stocks().annotate(state=state, interest=Subquery(interest)).filter(state__in=(STALE, NEVER))
    return list(wanted.order_by(F("interest").desc(nulls_last=True), "pk"))
