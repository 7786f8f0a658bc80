"""Statistics of the running system, a function for each. The queries stay fast with 1,000,000 jobs in the table."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db.models import Count, Min, Sum
from django.utils import timezone

from market.freshness import Freshness
from operations.monitoring import last_hour
from operations.monitoring.holdings_freshness import WORST, Coverage, HeldStocks, count_held, coverage_of
from operations.monitoring.last_hour import ProcessingTime, processing_times
from operations.monitoring.ratios import age
from operations.monitoring.workers import WorkerUse, worker_use
from tasks.delivery import broker
from tasks.models import DEAD_LETTER, UNPUBLISHED, Job, JobEvent
from tasks.priority import BANDS

A_DAY = timedelta(hours=24)


@dataclass(frozen=True)
class Depth:
    """The active jobs of a priority."""

    priority: int
    queue: str
    pending: int
    queued: int
    running: int


@dataclass(frozen=True)
class QueueState:
    """A whole queue. `broker_messages` is None if the broker does not answer; ages are in seconds."""

    queue: str
    waiting: int
    oldest_wait: float | None
    broker_messages: int | None


@dataclass(frozen=True)
class Ends:
    """The number of jobs with the same end in the last 24 hours; `outcome` is empty for unsuccessful jobs."""

    status: str
    outcome: str
    jobs: int


@dataclass(frozen=True)
class FailureReason:
    """An error, without its symbol, and the number of jobs that ended with the error in the last 24 hours."""

    status: str
    reason: str
    jobs: int


@dataclass(frozen=True)
class RunningJob:
    """A running job with its worker and its requesters; times are in seconds."""

    worker_id: str
    job_id: str
    job_type: str
    subject: str
    priority: int
    running_for: float | None
    heartbeat_age: float | None
    requesters: Sequence[str]


class _Active(NamedTuple):
    """The active jobs of a queue, priority and status; `failures` counts their failed attempts."""

    queue: str
    priority: int
    status: str
    jobs: int
    oldest: datetime
    failures: int


class ActiveJobs:
    """The active jobs, from a single query."""

    def __init__(self, found: Sequence[_Active]) -> None:
        self._found = found

    def depths(self) -> list[Depth]:
        """Pending, queued and running jobs of each priority, the most urgent first."""
        jobs = Counter[tuple[int, str]]()
        for one in self._found:
            jobs[one.priority, one.status] += one.jobs
        return [
            Depth(priority, str(queue), *(jobs[priority, status] for status in Job.ACTIVE))
            for queue, band in BANDS.items()
            for priority in band
        ]

    def waiting(self) -> dict[str, tuple[int, datetime | None]]:
        """The number of waiting jobs of each queue, and the creation time of the oldest."""
        waits = {queue: [one for one in self._found if one.queue == queue] for queue in Job.Queue.values}
        waits = {queue: [one for one in found if one.status in Job.WAITING] for queue, found in waits.items()}
        return {
            queue: (sum(one.jobs for one in found), min((one.oldest for one in found), default=None))
            for queue, found in waits.items()
        }

    @property
    def failures(self) -> int:
        """Failed attempts at the active jobs."""
        return sum(one.failures for one in self._found)


@dataclass(frozen=True)
class Outbox:
    """Events not yet received by the MQTT broker; `set_aside` counts dead letters, `unpublished` the rest."""

    unpublished: int
    oldest_age: float | None
    set_aside: int


@dataclass(frozen=True)
class Statistics:
    """All statistics, at `at`."""

    at: datetime
    depths: Sequence[Depth]
    queues: Sequence[QueueState]
    processing_times: Sequence[ProcessingTime]
    ends: Sequence[Ends]
    failures: Sequence[FailureReason]
    workers: Sequence[WorkerUse]
    running: Sequence[RunningJob]
    freshness: HeldStocks
    coverage: Coverage
    outbox: Outbox


def collect() -> Statistics:
    """All current statistics. A broker that does not answer costs two seconds."""
    now = timezone.now()
    rule, active = Freshness.of_all(now), active_jobs()
    return Statistics(
        at=now,
        depths=active.depths(),
        queues=queue_states(active, now),
        processing_times=processing_times(now),
        ends=ends(now),
        failures=failures(now),
        workers=worker_use(last_hour.ended(now), now),
        running=running_jobs(now),
        freshness=count_held(rule),
        coverage=coverage_of(rule),
        outbox=outbox(now),
    )


def active_jobs() -> ActiveJobs:
    """The active jobs, now."""
    rows = (
        Job.objects.active()
        .order_by()
        .values_list("queue", "priority", "status")
        .annotate(jobs=Count("pk"), oldest=Min("created_at"), failures=Sum("retries"))
    )
    return ActiveJobs([_Active._make(row) for row in rows])


def queue_states(active: ActiveJobs, now: datetime) -> list[QueueState]:
    """The waiting jobs of each queue, and the broker's count of messages."""
    messages = _broker_depths()
    return [
        QueueState(queue, jobs, age(oldest, now), messages.get(queue))
        for queue, (jobs, oldest) in active.waiting().items()
    ]


def ends(now: datetime) -> list[Ends]:
    """Jobs of the last 24 hours by their end, the most frequent first."""
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
    """The running jobs, worker by worker, the longest first."""
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


def outbox(now: datetime) -> Outbox:
    """The events that the bridge has not published."""
    waiting = JobEvent.objects.filter(UNPUBLISHED)
    oldest = waiting.order_by("id").values_list("created_at", flat=True).first()
    return Outbox(waiting.count(), age(oldest, now), JobEvent.objects.filter(DEAD_LETTER).count())


def _broker_depths() -> dict[str, int]:
    """Messages by queue. A broker that does not answer costs two seconds once, since the first error ends the loop."""
    depths = {}
    with suppress(OSError):
        for queue in Job.Queue.values:
            depths[queue] = broker.depth(queue)
    return depths
