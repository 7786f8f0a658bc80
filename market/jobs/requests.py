"""Enqueues the jobs about stocks: fetches, batches of fetches, backfills, analyses and research."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import CharField, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Concat
from django.utils import timezone

from market.jobs.backfill import Mode, first_source
from market.jobs.kinds import in_order, job_type_of
from market.models import Analysis, Stock
from tasks.enqueue import NOTHING_KNOWN, EnqueueResult, JobSpec, enqueue
from tasks.models import Job, JobRequest
from tasks.priority import Factors
from tasks.sql import job_sql

FETCH_DAYS = 30
"""Calendar days of an ordinary fetch: about 21 bars, enough to fill gaps of a few weeks."""


def request_fetches(
    stocks: Sequence[Stock],
    trigger: Job.Trigger,
    user: User | None = None,
    *,
    factors: Mapping[str, Factors] | None = None,
    start: date | None = None,
    end: date | None = None,
    mode: Mode = Mode.UPDATE,
) -> EnqueueResult:
    """Enqueue a `stock_fetch` of each stock, in order. A stock with an active job gets no second job.

    `factors`, by symbol, move the priorities. With `start` (and `end`, both included) the fetch is a backfill of the
    days, and `mode` says how to treat stored bars.
    """
    now, source = timezone.now(), first_source()
    return enqueue(
        [
            JobSpec(
                job_type=Job.Type.STOCK_FETCH,
                unique_key=_unique_key(Job.Type.STOCK_FETCH, stock.symbol, start, end, mode),
                symbol=stock.symbol,
                parameters=_fetch_parameters(stock, now, source) | _range(start, end, mode),
                factors=(factors or {}).get(stock.symbol, NOTHING_KNOWN),
            )
            for stock in stocks
        ],
        trigger,
        user,
    )


def fetch_requests(stocks: Iterable[Stock], user: User, since: datetime) -> list[JobRequest]:
    """The user's requests for ordinary fetches of the stocks after `since`, each with its job.

    The oldest request is first. A request may have joined an older job. The job is active or has ended after `since`,
    and so the indexes of active and of recently ended jobs find it.
    """
    keys = [_unique_key(Job.Type.STOCK_FETCH, stock.symbol, None, None, Mode.UPDATE) for stock in stocks]
    lately = Q(job__finished_at=None) | Q(job__finished_at__gte=since)
    asked = JobRequest.objects.filter(lately, user=user, trigger=Job.Trigger.USER_REQUEST, created_at__gt=since)
    return list(asked.filter(job__unique_key__in=keys).select_related("job").order_by("created_at"))


def ordinary_fetches(symbol: OuterRef) -> QuerySet[Job]:
    """The fetches of a stock without a range of days, for a subquery."""
    key = Concat(Value(f"{Job.Type.STOCK_FETCH}:"), symbol, output_field=CharField())
    return Job.objects.filter(symbol=symbol, unique_key=key)


def request_analyses(
    stocks: Sequence[Stock],
    trigger: Job.Trigger,
    user: User | None = None,
    *,
    analysis_types: Sequence[Analysis.Kind] = (Analysis.Kind.TECHNICAL,),
    factors: Mapping[str, Factors] | None = None,
) -> EnqueueResult:
    """Enqueue a job for each stock and kind. A stock and kind with an active job get no second job.

    The kinds run in the order of `analysis_priority`. `factors`, by symbol, move the priorities.
    """
    specs = [analysis_spec(stock, kind, factors) for kind in in_order(analysis_types) for stock in stocks]
    return enqueue(specs, trigger, user)


def analysis_spec(stock: Stock, kind: Analysis.Kind, factors: Mapping[str, Factors] | None = None) -> JobSpec:
    """The spec of a job for one kind of analysis; `factors`, by symbol, move its priority."""
    job_type = job_type_of(kind)
    return JobSpec(
        job_type=job_type,
        unique_key=f"{job_type}:{stock.symbol}:{kind}",
        symbol=stock.symbol,
        parameters={"symbol": stock.symbol, "analysis_types": [kind]},
        factors=(factors or {}).get(stock.symbol, NOTHING_KNOWN),
    )


def request_batches(
    stocks: Sequence[Stock],
    trigger: Job.Trigger,
    user: User | None = None,
    *,
    size: int | None = None,
    ahead: timedelta | None = None,
    charts: bool = False,
) -> EnqueueResult:
    """Enqueue `stock_batch_fetch` jobs of `size` stocks each (None: `batch_size`), without stocks of an active batch.

    With `ahead`, a batch also fetches fresh stocks that go stale within this time. `charts`: a chart of each stock,
    fresh or not.
    """
    size = size or settings.JOB_PROCESSOR.stock_jobs.data_fetch.batch_size
    more: dict[str, Any] = {} if ahead is None else {"ahead": ahead.total_seconds() / 60}
    if charts:
        more["charts"] = True
    with transaction.atomic():
        job_sql().lock("batches")  # two concurrent schedules must not both find a stock in no batch
        taken = set(_symbols_in_batches())
        free = [stock.symbol for stock in stocks if stock.symbol not in taken]
        return enqueue(
            [
                JobSpec(
                    job_type=Job.Type.STOCK_BATCH_FETCH,
                    unique_key=_batch_key(symbols),
                    parameters={"symbols": list(symbols), "days": FETCH_DAYS, "source": first_source(), **more},
                )
                for symbols in (free[first : first + size] for first in range(0, len(free), size))
            ],
            trigger,
            user,
        )


def _unique_key(job_type: Job.Type, symbol: str, start: date | None, end: date | None, mode: Mode) -> str:
    days = [] if start is None else [str(start), str(end or "")]
    return ":".join([job_type, symbol, *days, *([] if mode == Mode.UPDATE else [mode])])


def _batch_key(symbols: Iterable[str]) -> str:
    digest = hashlib.sha256(" ".join(symbols).encode()).hexdigest()
    return f"{Job.Type.STOCK_BATCH_FETCH}:{digest}"


def _symbols_in_batches() -> Iterable[str]:
    """The symbols of active batches."""
    active = Job.objects.active().filter(job_type=Job.Type.STOCK_BATCH_FETCH)
    return (symbol for parameters in active.values_list("parameters", flat=True) for symbol in parameters["symbols"])


def _fetch_parameters(stock: Stock, now: datetime, source: str) -> dict[str, Any]:
    """The predecessor's parameters of a fetch."""
    age = None if stock.checked_at is None else int((now - stock.checked_at).total_seconds() // 60)
    return {
        "symbol": stock.symbol,
        "days": FETCH_DAYS,
        "source": source,
        "data_age_minutes": age,
    }


def _range(start: date | None, end: date | None, mode: Mode) -> dict[str, Any]:
    if start is None:
        return {}
    last = end or timezone.now().date()
    days = {"start": start.isoformat(), "end": last.isoformat(), "days": (last - start).days + 1}
    return days if mode == Mode.UPDATE else days | {"mode": mode}
