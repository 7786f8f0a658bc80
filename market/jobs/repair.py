"""Repairs stored histories: each is fetched anew, and becomes what the source has."""

from collections.abc import Sequence
from datetime import date

from django.db.models import Min

from market.jobs.backfill import Mode
from market.jobs.requests import request_fetches
from market.models import PriceBar, Stock
from tasks.enqueue import EnqueueResult
from tasks.models import Job


def request_repairs(stocks: Sequence[Stock], trigger: Job.Trigger) -> EnqueueResult:
    """Enqueue a fetch of each stock's whole stored history, which replaces bars that differ from the source.

    A stock takes one request. Stocks without bars are left out.
    """
    firsts = PriceBar.objects.filter(stock__in=stocks).order_by().values_list("stock").annotate(Min("date"))
    by_pk = {stock.pk: stock for stock in stocks}
    by_day: dict[date, list[Stock]] = {}
    for pk, first in firsts:
        by_day.setdefault(first, []).append(by_pk[pk])
    requested = EnqueueResult()
    for first, members in by_day.items():
        part = request_fetches(members, trigger, start=first, mode=Mode.REPLACE)
        requested.created += part.created
        requested.joined += part.joined
    return requested
