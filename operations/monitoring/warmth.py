"""The effect of the schedule "Warm" on freshness, and its requests."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, IntegerField, Q, Sum
from django.db.models.fields.json import KT
from django.db.models.functions import Cast

from market.freshness import FRESH, PARKED, Freshness
from operations.monitoring.last_hour import HOUR
from portfolio.schedules.warming import kept_stocks
from tasks.models import Job


@dataclass(frozen=True)
class WarmStocks:
    """The stocks that are kept warm, without parked stocks; `fresh` includes stocks that cannot have changed."""

    all: int
    fresh: int


def count_warm(rule: Freshness) -> WarmStocks:
    """Count the stocks that are kept warm, in a single query."""
    stocks = kept_stocks().annotate(state=rule.state_in_sql()).exclude(state=PARKED).order_by()
    return WarmStocks(**stocks.aggregate(all=Count("pk"), fresh=Count("pk", filter=Q(state=FRESH))))


def warm_requests(now: datetime) -> int:
    """The requests of the batches that kept stocks warm and ended in the last hour."""
    batches = Job.objects.ended_since(now - HOUR).filter(
        job_type=Job.Type.STOCK_BATCH_FETCH, parameters__has_key="ahead"
    )
    requests = Sum(Cast(KT("result__requests"), IntegerField()))
    return batches.order_by().aggregate(requests=requests)["requests"] or 0
