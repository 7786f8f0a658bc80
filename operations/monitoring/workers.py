"""Workers, the bridge and beat: their states and their jobs."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Max, Min
from django.db.models.functions import Coalesce
from django_celery_beat.models import PeriodicTask

from mqtt_bridge import leadership
from operations.monitoring.last_hour import HOUR, Ended
from operations.monitoring.ratios import age, share
from tasks.celery_worker import registry
from tasks.models import Job, Worker

MOST_WORKERS = 30
"""The most workers to list. Commands and web servers with direct processing count as workers."""


@dataclass(frozen=True)
class WorkerUse:
    """A worker that is alive or gone, runs a job, or ended a job in the last hour.

    `running` counts its busy processes: a process runs a job, or a cohort of jobs. With direct processing, `state` is
    empty and `concurrency` None. A gone worker with a replacement is no loss.
    `heartbeat_age` is the age of the oldest heartbeat among its jobs. `efficiency` is the share of successful jobs, 0
    to 1, of the worker's jobs that ran to their end in the last hour; None without any.
    """

    worker_id: str
    state: str
    was_replaced: bool
    running: int
    heartbeat_age: float | None
    jobs_per_minute: float
    concurrency: int | None
    ended: int
    efficiency: float | None


_CLAIM = Coalesce("claimed_with", "pk")
"""The same for all jobs of a cohort, which one process runs."""


@dataclass(frozen=True)
class Workforce:
    """The numbers of Celery workers that are `alive`, or `gone` without a replacement.

    `processes` counts the processes of the live workers; `busy` counts the processes that are running jobs.
    """

    alive: int
    gone: int
    processes: int
    busy: int

    @property
    def utilisation(self) -> float | None:
        return share(self.busy, self.processes)


def workforce() -> Workforce:
    """All workers together, except workers that shut down cleanly."""
    known = list(registry.workers())
    alive = {worker.worker_id: worker.concurrency for worker in known if worker.state == Worker.State.ALIVE}
    running = Job.objects.active().filter(status=Job.Status.RUNNING, worker_id__in=alive)
    busy = running.aggregate(busy=Count(_CLAIM, distinct=True))["busy"]
    return Workforce(len(alive), len(registry.missing(known)), sum(alive.values()), busy)


@dataclass(frozen=True)
class SignsOfLife:
    """Seconds since the bridge and beat were last seen; None: never.

    A negative value lies in the future: either a clock was set back, or the clock of the bridge or beat is ahead. The
    process may be alive or dead.
    """

    bridge: float | None
    beat: float | None


def signs_of_life(now: datetime) -> SignsOfLife:
    """When the processes outside the worker registry were last seen."""
    bridge = leadership.last_seen()
    beat = PeriodicTask.objects.filter(enabled=True).aggregate(last=Max("last_run_at"))["last"]
    return SignsOfLife(
        None if bridge is None else bridge.total_seconds(), None if beat is None else (now - beat).total_seconds()
    )


def worker_use(ended: Iterable[Ended], now: datetime) -> list[WorkerUse]:
    """The busy processes of each worker, and its share of `ended`, the jobs of the last hour; the busiest first."""
    running = {
        worker: (busy, heartbeat)
        for worker, busy, heartbeat in Job.objects.active()
        .filter(status=Job.Status.RUNNING)
        .order_by()
        .values_list("worker_id")
        .annotate(busy=Count(_CLAIM, distinct=True), heartbeat=Min("heartbeat_at"))
    }
    ends: dict[str, Counter[str]] = {}
    for end in ended:
        if end.worker_id:
            ends.setdefault(end.worker_id, Counter())[end.status] += end.jobs
    known = {worker.worker_id: worker for worker in registry.workers()}
    missing = {worker.worker_id for worker in registry.missing(known.values())}
    there = {worker.worker_id for worker in known.values() if worker.state != Worker.State.STOPPED}
    minutes = HOUR / timedelta(minutes=1)
    uses = []
    for worker in running.keys() | ends.keys() | there:
        busy, heartbeat = running.get(worker, (0, None))
        row = known.get(worker)
        done = ends.get(worker, Counter())
        succeeded = done[Job.Status.COMPLETED]
        use = WorkerUse(
            worker_id=worker,
            state=row.state if row else "",
            was_replaced=row is not None and row.state == Worker.State.GONE and worker not in missing,
            running=busy,
            heartbeat_age=age(heartbeat, now),
            jobs_per_minute=round(done.total() / minutes, 2),
            concurrency=row.concurrency if row else None,
            ended=done.total(),
            efficiency=share(succeeded, succeeded + done[Job.Status.FAILED]),
        )
        uses.append(use)
    return sorted(uses, key=lambda use: (-use.running, -use.jobs_per_minute, use.worker_id))[:MOST_WORKERS]
