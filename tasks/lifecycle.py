"""The one place that writes a job's status: each transition is one compare-and-set and one event, together."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Case, F, JSONField, QuerySet, Value, When
from django.db.models.functions import Now
from django.db.models.sql import UpdateQuery
from django.utils import timezone

from tasks.models import Job, JobEvent

Event = JobEvent.Event
Status = Job.Status


class ClaimLost(Exception):
    """The job is no longer this attempt's: it was given to another worker, or has ended."""


def record_created(jobs: Sequence[Job], **details: Any) -> None:
    """Write the first event of jobs that were inserted in this transaction."""
    _record(jobs, Event.CREATED, details)


def mark_queued(job_ids: Collection[UUID]) -> list[Job]:
    """pending → queued, for those of the jobs that the broker has and no worker was faster with."""
    return _transition(
        _those(job_ids, Status.PENDING), event=Event.QUEUED, status=Status.QUEUED, queued_at=timezone.now()
    )


def claim(job_id: UUID, worker_id: str, *, at_most: int | None = None) -> Job | None:
    """queued → running for one worker; None when the job is not to be had. `attempt` is the claim's token.

    `at_most` is the priority that the message was sent with: a job that was put back since then is left to the message
    that says so.
    """
    claimed = _claim(job_id, worker_id, at_most)
    if not claimed:
        with transaction.atomic():
            if mark_queued([job_id]):  # a message can arrive before the one who sent it has noted that
                claimed = _claim(job_id, worker_id, at_most)
    return claimed[0] if claimed else None


def _claim(job_id: UUID, worker_id: str, at_most: int | None) -> list[Job]:
    candidates = _those([job_id], Status.QUEUED)
    if at_most is not None:
        candidates = candidates.filter(priority__lte=at_most)
    return _transition(
        candidates,
        event=Event.STARTED,
        attempt=F("attempt") + 1,
        status=Status.RUNNING,
        worker_id=worker_id,
        started_at=timezone.now(),
        heartbeat_at=Now(),
        run_at=None,
    )


def hold(job: Job) -> None:
    """Lock the job's row until the transaction ends. ClaimLost when the claim is not this attempt's any more."""
    if not _held(job).select_for_update().exists():
        raise ClaimLost(f"job {job.pk}, attempt {job.attempt}")


def report_progress(job: Job, details: dict[str, Any], *, result: dict[str, Any]) -> Job:
    """running → running: tell how far it is, and keep what there is so far, for an attempt that follows."""
    return _of_claim(job, Event.PROGRESS, details, heartbeat_at=Now(), result=result)


def complete(job: Job, outcome: Job.Outcome, result: dict[str, Any]) -> Job:
    """running → completed, by the worker that holds the claim."""
    return _of_claim(
        job,
        Event.COMPLETED,
        {"result": result},
        status=Status.COMPLETED,
        outcome=outcome,
        result=result,
        error="",
        finished_at=timezone.now(),
    )


def fail(job: Job, error: str) -> Job:
    """running → failed for good, by the worker that holds the claim or in the name of one that was lost."""
    return _of_claim(
        job, Event.FAILED, {"error": error}, status=Status.FAILED, error=error, finished_at=timezone.now()
    )


def retry(job: Job, error: str, run_at: datetime, *, counts: bool = True) -> Job:
    """running → pending, to be started again at `run_at`. `counts`: whether it uses up one of the job's retries."""
    return _of_claim(
        job,
        Event.RETRIED,
        {"error": error, "run_at": run_at.isoformat()},
        status=Status.PENDING,
        retries=F("retries") + int(counts),
        error=error,
        run_at=run_at,
        dispatched_at=None,
        dispatched_for=None,
        queued_at=None,
    )


def expire(job_ids: Collection[UUID], queued_before: datetime, error: str) -> list[Job]:
    """queued → expired, for those of the jobs that the broker has had since before that moment."""
    return _transition(
        _those(job_ids, Status.QUEUED).filter(queued_at__lte=queued_before),
        event=Event.EXPIRED,
        details={"error": error},
        status=Status.EXPIRED,
        error=error,
        finished_at=timezone.now(),
    )


def cancel(job_ids: Collection[UUID], reason: str) -> list[Job]:
    """pending, queued or running → cancelled; the jobs that were. What runs may go on, and can write nothing."""
    return _transition(
        _those(job_ids, *Job.ACTIVE),
        event=Event.CANCELLED,
        details={"error": reason},
        status=Status.CANCELLED,
        error=reason,
        finished_at=timezone.now(),
    )


def promote(reasons: Mapping[UUID, dict[str, Any]], priority: int, queue: Job.Queue) -> list[Job]:
    """Give waiting jobs another priority (better or worse), and the queue and reason that go with it.

    The jobs that changed: they have to be dispatched again.
    """
    reason = Case(
        *(When(pk=job_id, then=Value(reason, JSONField())) for job_id, reason in reasons.items()),
        output_field=JSONField(),
    )
    waiting = _those(reasons, *Job.WAITING).exclude(priority=priority, queue=queue)
    return _transition(waiting, event=Event.PROMOTED, priority=priority, queue=queue, priority_reason=reason)


def _those(job_ids: Collection[UUID], *statuses: Job.Status) -> QuerySet[Job]:
    return Job.objects.filter(pk__in=job_ids, status__in=statuses)


def _held(job: Job) -> QuerySet[Job]:
    return _those([job.pk], Status.RUNNING).filter(attempt=job.attempt)


def _of_claim(job: Job, event: JobEvent.Event, details: dict[str, Any], **changes: Any) -> Job:
    """A transition that only the attempt that holds the claim may make."""
    changed = _transition(_held(job), event=event, details=details, **changes)
    if not changed:
        raise ClaimLost(f"job {job.pk}, attempt {job.attempt}")
    return changed[0]


def _transition(
    candidates: QuerySet[Job], *, event: JobEvent.Event, details: dict[str, Any] | None = None, **changes: Any
) -> list[Job]:
    """Change the jobs that are as `candidates` says, with one event each; the changed jobs, as they are now.

    One UPDATE looks and changes; what it returns stays locked until the commit, so that `seq` has no gaps.
    """
    with transaction.atomic():
        jobs = _update_returning(candidates, last_seq=F("last_seq") + 1, **changes)
        _record(jobs, event, details or {})
    return jobs


def lock_rows(job_ids: Collection[UUID]) -> None:
    """Lock many jobs before they change together, in one order for everybody, so that nobody deadlocks."""
    if connection.features.has_select_for_update:
        list(Job.objects.select_for_update().filter(pk__in=job_ids).order_by("pk").values_list("pk"))


def _update_returning(candidates: QuerySet[Job], **changes: Any) -> list[Job]:
    """UPDATE … RETURNING, which Django 5.2 has no method for."""
    update: UpdateQuery = candidates.query.chain(UpdateQuery)  # type: ignore[assignment]
    update.add_update_values(changes)
    sql, parameters = update.get_compiler(connection=connection).as_sql()
    return list(Job.objects.raw(f"{sql} RETURNING *", parameters))


def _record(jobs: Iterable[Job], event: JobEvent.Event, details: dict[str, Any]) -> None:
    JobEvent.objects.bulk_create(
        JobEvent(
            job=job,
            seq=job.last_seq,
            event=event,
            payload={
                "state": job.status,
                "priority": job.priority,
                "queue": job.queue,
                "attempt": job.attempt,
                "worker_id": job.worker_id,
                **details,
            },
        )
        for job in jobs
    )
