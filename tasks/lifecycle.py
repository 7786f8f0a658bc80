"""The one place that writes a job's status: each transition is one compare-and-set and one event, together."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from tasks.models import Job, JobEvent

Event = JobEvent.Event
Status = Job.Status


class ClaimLost(Exception):
    """The job is no longer this attempt's: it was given to another worker, or has ended."""


def record_created(jobs: Sequence[Job]) -> None:
    """Write the first event of jobs that were inserted in this transaction."""
    JobEvent.objects.bulk_create(_event(job, Event.CREATED, {}) for job in jobs)


def mark_queued(job_ids: Collection[UUID]) -> list[Job]:
    """pending → queued, for those of the jobs that the broker has and no worker was faster with."""
    return _transition(
        job_ids, source=[Status.PENDING], event=Event.QUEUED, status=Status.QUEUED, queued_at=timezone.now()
    )


def claim(job_id: UUID, worker_id: str) -> Job | None:
    """queued → running for one worker; None when the job is not to be had. `attempt` is the claim's token."""
    with transaction.atomic():
        mark_queued([job_id])  # a message can arrive before the one who sent it has noted that
        now = timezone.now()
        claimed = _transition(
            [job_id],
            source=[Status.QUEUED],
            event=Event.STARTED,
            next_attempt=True,
            status=Status.RUNNING,
            worker_id=worker_id,
            started_at=now,
            heartbeat_at=now,
        )
    return claimed[0] if claimed else None


def hold(job: Job) -> None:
    """Lock the job's row until the transaction ends. ClaimLost when the claim is not this attempt's any more."""
    held = Job.objects.select_for_update().filter(pk=job.pk, status=Status.RUNNING, attempt=job.attempt)
    if not held.exists():
        raise ClaimLost(f"job {job.pk}, attempt {job.attempt}")


def complete(job: Job, outcome: Job.Outcome, result: dict[str, Any]) -> Job:
    """running → completed, by the worker that holds the claim."""
    return _end(job, Event.COMPLETED, {"result": result}, status=Status.COMPLETED, outcome=outcome, result=result)


def fail(job: Job, error: str) -> Job:
    """running → failed for good, by the worker that holds the claim."""
    return _end(job, Event.FAILED, {"error": error}, status=Status.FAILED, error=error)


def _end(job: Job, event: JobEvent.Event, details: dict[str, Any], **changes: Any) -> Job:
    ended = _transition(
        [job.pk],
        source=[Status.RUNNING],
        event=event,
        attempt_held=job.attempt,
        details=details,
        finished_at=timezone.now(),
        **changes,
    )
    if not ended:
        raise ClaimLost(f"job {job.pk}, attempt {job.attempt}")
    return ended[0]


def _transition(
    job_ids: Collection[UUID],
    *,
    source: Iterable[Job.Status],
    event: JobEvent.Event,
    attempt_held: int | None = None,
    next_attempt: bool = False,
    details: dict[str, Any] | None = None,
    **changes: Any,
) -> list[Job]:
    """Change those of the jobs that are in `source` (and at `attempt_held`), with one event each; the changed jobs.

    The rows stay locked from the look to the commit, so that `seq` has no gaps and nobody changes them in between.
    """
    step = int(next_attempt)
    with transaction.atomic():
        candidates = Job.objects.filter(pk__in=job_ids, status__in=list(source))
        if attempt_held is not None:
            candidates = candidates.filter(attempt=attempt_held)
        jobs = list(candidates.select_for_update(of=("self",)).order_by("pk"))
        if not jobs:
            return []
        changed = candidates.filter(pk__in=[job.pk for job in jobs]).update(
            last_seq=F("last_seq") + 1, attempt=F("attempt") + step, **changes
        )
        if changed != len(jobs):
            raise RuntimeError(f"{event}: {changed} of {len(jobs)} locked jobs were changed")
        for job in jobs:
            job.last_seq += 1
            job.attempt += step
            for name, value in changes.items():
                setattr(job, name, value)
        JobEvent.objects.bulk_create(_event(job, event, details or {}) for job in jobs)
    return jobs


def _event(job: Job, event: JobEvent.Event, details: dict[str, Any]) -> JobEvent:
    facts = {
        "state": job.status,
        "priority": job.priority,
        "queue": job.queue,
        "attempt": job.attempt,
        "worker_id": job.worker_id,
    }
    return JobEvent(job=job, seq=job.last_seq, event=event, payload=facts | details)
