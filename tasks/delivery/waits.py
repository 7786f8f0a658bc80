"""Why a pending job waits: for something outside the job, and behind which jobs."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q

from tasks import limits
from tasks.describe import is_snoozed
from tasks.models import Job


@dataclass(frozen=True)
class Wait:
    """What a job waits for, until when at the latest, and the number of jobs before it that wait for the same."""

    cause: str
    until: datetime | None
    ahead: int

    def __str__(self) -> str:
        until = f" until {self.until:%Y-%m-%d %H:%M:%S} UTC" if self.until else ""
        return f"{self.cause}{until}{f' (behind {self.ahead} others)' if self.ahead else ''}"


def why_waiting(job: Job, now: datetime) -> Wait | None:
    """What a pending job waits for outside the job; None if it waits for its turn, a worker or its next attempt."""
    if job.status != Job.Status.PENDING or job.dispatched_at is not None:
        return None
    if job.run_at is not None and job.run_at > now:
        ahead = 0 if job.waits_for else _ahead_of(job)
        return Wait(job.waiting_for, job.run_at, ahead) if is_snoozed(job) else None
    limit = limits.find(job.limited_by, job.queue)
    left = limit(job.priority) if limit else None
    return None if left is None or left.requests else Wait(left.cause, left.until, _ahead_of(job))


def _ahead_of(job: Job) -> int:
    """The number of jobs that are admitted before a job under the same limit."""
    earlier = Q(priority__lt=job.priority) | Q(priority=job.priority, created_at__lt=job.created_at)
    pending = Job.objects.active().filter(queue=job.queue, status=Job.Status.PENDING, limited_by=job.limited_by)
    return pending.filter(earlier, dispatched_at=None).count()
