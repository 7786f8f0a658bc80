"""Enqueues analyses of stocks that a user looks at, if their newest analyses are no longer valid."""

from collections.abc import Iterator, Mapping, Sequence

from django.conf import settings
from django.contrib.auth.models import User
from django.utils import timezone

from market.jobs.analysis import KINDS
from market.jobs.analysis_base import is_young
from market.jobs.kinds import in_order
from market.jobs.requests import analysis_spec
from market.models import Analysis, Stock
from tasks.enqueue import EnqueueResult, enqueue
from tasks.models import Job
from tasks.priority import Factors


def request_stale_analyses(
    stocks: Sequence[Stock], user: User | None, *, factors: Mapping[str, Factors] | None = None
) -> EnqueueResult:
    """Enqueue each kind of `at_login` whose newest analysis of a stock is outdated.

    `factors`, by symbol, move the priorities. The number of queries does not depend on the number of stocks.
    """
    specs = [analysis_spec(stock, kind, factors) for kind, stock in _stale(stocks)]
    return enqueue(specs, Job.Trigger.BACKGROUND_ANALYSIS, user)


def _stale(stocks: Sequence[Stock]) -> Iterator[tuple[Analysis.Kind, Stock]]:
    kinds = in_order(kind for kind in KINDS if kind in settings.JOB_PROCESSOR.stock_jobs.analysis.at_login)
    if not kinds:
        return
    now = timezone.now()
    newest = {(one.stock_id, one.kind): one for one in Analysis.objects.newest(stocks)}
    for kind in kinds:
        for stock in stocks:
            last = newest.get((stock.pk, kind))
            if last is None or not is_young(last, now) or not KINDS[kind].holds(last, stock):
                yield kind, stock
