"""What the system is doing, as figures: one function each. The queries stay fast with 1,000,000 jobs in the table."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db.models import Count, Exists, Min, OuterRef
from django.utils import timezone

from market.freshness import stale_at
from market.models import Stock
from operations.amounts import age
from operations.last_hour import ProcessingTime, processing_times
from operations.moments import Unix, moment
from operations.processes import WorkerUse, worker_use
from portfolio.models import Holding, Portfolio
from tasks import broker
from tasks.models import Job, JobEvent
from tasks.priority import BANDS

A_DAY = timedelta(hours=24)
WORST = 10
"""Rows of a list that names the worst."""


@dataclass(frozen=True)
class Depth:
    """Jobs that have not ended, of one priority."""

    priority: int
    queue: str
    pending: int
    queued: int
    running: int


@dataclass(frozen=True)
class QueueState:
    """A queue as a whole. `broker_messages` is None when the broker does not answer; ages are in seconds."""

    queue: str
    waiting: int
    oldest_wait: float | None
    broker_messages: int | None


@dataclass(frozen=True)
class Ends:
    """How many jobs ended so in the last 24 hours; `outcome` is empty for those that did not succeed."""

    status: str
    outcome: str
    jobs: int


@dataclass(frozen=True)
class FailureReason:
    """An error, without the symbol that it names, and how many jobs ended with it in the last 24 hours."""

    status: str
    reason: str
    jobs: int


@dataclass(frozen=True)
class RunningJob:
    """A job that a worker has in hand, and who asked for it; times are in seconds."""

    worker_id: str
    job_id: str
    job_type: str
    subject: str
    priority: int
    running_for: float | None
    heartbeat_age: float | None
    requesters: Sequence[str]


class HeldStock(NamedTuple):
    """What is needed here of a stock that somebody holds; thousands of model instances take twice the time."""

    pk: int
    symbol: str
    exchange: str
    status: str
    source: str
    checked_at: datetime | None


@dataclass(frozen=True)
class StaleStock:
    """A held stock that has to be fetched; `age` is None when it was never checked."""

    symbol: str
    age: float | None


@dataclass(frozen=True)
class Freshness:
    """Held stocks, each counted once; `never` are those never checked, which are stale as well.

    `parked` are those that no source knows any more, and nobody asks for. `oldest_age` is how long the check of the
    longest stale one is ago, in seconds; None where no stock that was ever checked is stale.
    """

    fresh: int
    stale: int
    never: int
    parked: int
    oldest_age: float | None
    worst: Sequence[StaleStock]


@dataclass(frozen=True)
class PortfolioCoverage:
    """How much of a portfolio is fresh; `share` is 0 to 1."""

    user: str
    portfolio: str
    holdings: int
    fresh: int
    share: float
    portfolio_id: int


@dataclass(frozen=True)
class Coverage:
    """All portfolios that hold something; `worst` are the least fresh."""

    portfolios: int
    holdings: int
    fresh: int
    worst: Sequence[PortfolioCoverage]


@dataclass(frozen=True)
class Outbox:
    """Events that the MQTT broker does not have yet; `unpublished` are those that were not set aside."""

    unpublished: int
    oldest_age: float | None
    set_aside: int


@dataclass(frozen=True)
class Statistics:
    """All figures, at `at`."""

    at: datetime
    depths: Sequence[Depth]
    queues: Sequence[QueueState]
    processing_times: Sequence[ProcessingTime]
    ends: Sequence[Ends]
    failures: Sequence[FailureReason]
    workers: Sequence[WorkerUse]
    running: Sequence[RunningJob]
    freshness: Freshness
    coverage: Coverage
    outbox: Outbox


def collect() -> Statistics:
    """Every figure, now. A broker that is away costs two seconds."""
    now = timezone.now()
    stocks = held_stocks()
    return Statistics(
        at=now,
        depths=depths(),
        queues=queue_states(now),
        processing_times=processing_times(now),
        ends=ends(now),
        failures=failures(now),
        workers=worker_use(now),
        running=running_jobs(now),
        freshness=freshness(stocks, now),
        coverage=coverage(stocks, now),
        outbox=outbox(now),
    )


def depths() -> list[Depth]:
    """Pending, queued and running jobs of each priority, the most urgent first."""
    found = Counter(
        {
            (priority, status): jobs
            for priority, status, jobs in Job.objects.active()
            .order_by()
            .values_list("priority", "status")
            .annotate(jobs=Count("pk"))
        }
    )
    return [
        Depth(priority, str(queue), *(found[priority, status] for status in Job.ACTIVE))
        for queue, band in BANDS.items()
        for priority in band
    ]


def queue_states(now: datetime) -> list[QueueState]:
    """What waits in each queue, and what the broker says it holds."""
    messages = _broker_depths()
    return [
        QueueState(queue, jobs, age(oldest, now), messages.get(queue))
        for queue, (jobs, oldest) in waiting_jobs().items()
    ]


def waiting_jobs() -> dict[str, tuple[int, datetime | None]]:
    """How many jobs wait in each queue, and when the oldest was asked for."""
    found = {
        queue: (jobs, oldest)
        for queue, jobs, oldest in Job.objects.active()
        .filter(status__in=Job.WAITING)
        .order_by()
        .values_list("queue")
        .annotate(jobs=Count("pk"), oldest=Min("created_at"))
    }
    return {queue: found.get(queue, (0, None)) for queue in Job.Queue.values}


def ends(now: datetime) -> list[Ends]:
    """How jobs ended in the last 24 hours, the most frequent first."""
    rows = (
        Job.objects.ended_since(now - A_DAY)
        .order_by()
        .values_list("status", "outcome")
        .annotate(jobs=Count("pk"))
        .order_by("-jobs", "status", "outcome")
    )
    return [Ends(*row) for row in rows]


def failures(now: datetime) -> list[FailureReason]:
    """Why jobs failed or expired in the last 24 hours, the most frequent first, ten at most."""
    rows = (
        Job.objects.unsuccessful()
        .ended_since(now - A_DAY)
        .exclude(status=Job.Status.CANCELLED)
        .with_reason()
        .order_by()
        .values_list("status", "reason")
        .annotate(jobs=Count("pk"))
        .order_by("-jobs", "reason", "status")[:WORST]
    )
    return [FailureReason(*row) for row in rows]


def running_jobs(now: datetime) -> list[RunningJob]:
    """What runs, worker by worker, the longest first."""
    jobs = (
        Job.objects.active()
        .filter(status=Job.Status.RUNNING)
        .order_by("worker_id", "started_at")
        .prefetch_related(Job.REQUESTERS)
    )
    return [
        RunningJob(
            worker_id=job.worker_id,
            job_id=str(job.pk),
            job_type=job.job_type,
            subject=job.subject,
            priority=job.priority,
            running_for=age(job.started_at, now),
            heartbeat_age=age(job.heartbeat_at, now),
            requesters=job.requesters(),
        )
        for job in jobs
    ]


def held_stocks() -> list[HeldStock]:
    """The stocks that somebody holds."""
    held = Stock.objects.filter(Exists(Holding.objects.filter(stock=OuterRef("pk"))))
    rows = held.values_list("pk", "symbol", "exchange", "status", "source", Unix("checked_at"))
    return [HeldStock._make((*known, moment(checked))) for *known, checked in rows]


def freshness(stocks: Sequence[HeldStock], now: datetime) -> Freshness:
    """How many of the stocks are fresh, and the ten that are not for longest."""
    stale = stale_at(stocks, now)
    never = [stock for stock in stale if stock.checked_at is None]
    checked = sorted((stock for stock in stale if stock.checked_at), key=lambda stock: stock.checked_at or now)
    worst = [StaleStock(stock.symbol, age(stock.checked_at, now)) for stock in (never + checked)[:WORST]]
    parked = sum(_is_parked(stock) for stock in stocks)
    return Freshness(
        fresh=len(stocks) - len(stale) - parked,
        stale=len(stale),
        never=len(never),
        parked=parked,
        oldest_age=age(checked[0].checked_at, now) if checked else None,
        worst=worst,
    )


def _is_parked(stock: HeldStock) -> bool:
    return stock.status != Stock.Status.ACTIVE


def coverage(stocks: Sequence[HeldStock], now: datetime) -> Coverage:
    """The share of each portfolio's holdings that are fresh, which parked ones are not."""
    stale = {stock.pk for stock in stale_at(stocks, now)} | {stock.pk for stock in stocks if _is_parked(stock)}
    holdings = list(Holding.objects.order_by().values_list("portfolio", "stock"))
    total = Counter(portfolio for portfolio, _ in holdings)
    fresh = Counter(portfolio for portfolio, stock in holdings if stock not in stale)
    worst = sorted(total, key=lambda portfolio: (fresh[portfolio] / total[portfolio], -total[portfolio], portfolio))
    names = Portfolio.objects.select_related("user").in_bulk(worst[:WORST])
    rows = [
        PortfolioCoverage(
            user=names[pk].user.get_username(),
            portfolio=names[pk].name,
            holdings=total[pk],
            fresh=fresh[pk],
            share=round(fresh[pk] / total[pk], 4),
            portfolio_id=pk,
        )
        for pk in worst[:WORST]
        if pk in names
    ]
    return Coverage(len(total), total.total(), fresh.total(), rows)


def outbox(now: datetime) -> Outbox:
    """What the bridge has still to publish."""
    unpublished = JobEvent.objects.filter(published_at__isnull=True)
    waiting = unpublished.filter(error="")
    oldest = waiting.order_by("id").values_list("created_at", flat=True).first()
    return Outbox(waiting.count(), age(oldest, now), unpublished.exclude(error="").count())


def _broker_depths() -> dict[str, int]:
    """Messages by queue. A broker that does not answer takes two seconds to say so, and is not asked again."""
    depths = {}
    with suppress(OSError):
        for queue in Job.Queue.values:
            depths[queue] = broker.depth(queue)
    return depths
