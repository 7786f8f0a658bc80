"""The one place that writes a job's status: each transition is one compare-and-set and one event, together."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone

from tasks.models import Job, JobEvent
from tasks.state.transitions_sql import Sql, change, database_time, insert

Event = JobEvent.Event
Status = Job.Status


class ClaimLost(Exception):
    """The job is no longer this attempt's: it was given to another worker, or has ended."""


def create(jobs: Sequence[Job]) -> set[UUID]:
    """Insert those of the jobs whose `unique_key` no active job has, with their first event and request; their ids."""
    return insert(jobs, Event.CREATED, {job.pk: {"retry_of": str(job.retry_of_id)} for job in jobs if job.retry_of_id})


def mark_queued(job_ids: Collection[UUID]) -> list[Job]:
    """pending → queued, for those of the jobs that the broker has and no worker was faster with."""
    return change(
        job_ids,
        [Status.PENDING],
        Event.QUEUED,
        brief=True,
        status=Status.QUEUED,
        queued_at=timezone.now(),
        refused_at=None,
        # Its turn was taken back when the sender believed that the message had not arrived: it takes up room again.
        dispatched_at=Sql('COALESCE("dispatched_at", "created_at")'),
    )


def claim(job_id: UUID, worker_id: str, *, at_most: int | None = None) -> Job | None:
    """queued → running for one worker; None when the job is not to be had. `attempt` is the claim's token.

    `at_most` is the priority that the message was sent with: a job that was put back since then is left to the message
    that says so.
    """
    claimed = _claim(job_id, worker_id, at_most)
    if not claimed:
        with transaction.atomic():
            # A message can arrive before its sender has noted that it is sent, or while he does: this waits for him.
            mark_queued([job_id])
            claimed = _claim(job_id, worker_id, at_most)
    return claimed[0] if claimed else None


def _claim(job_id: UUID, worker_id: str, at_most: int | None) -> list[Job]:
    return change(
        [job_id],
        [Status.QUEUED],
        Event.STARTED,
        only=[] if at_most is None else [("priority", "<=", at_most)],
        attempt=Sql("attempt + 1"),
        status=Status.RUNNING,
        worker_id=worker_id,
        started_at=timezone.now(),
        heartbeat_at=database_time(),
        run_at=None,
    )


def report_progress(job: Job, steps: Sequence[dict[str, Any]]) -> Job:
    """running → running: tell of each step. The events are there for an attempt that follows, too."""
    return _of_claim(job, Event.PROGRESS, *steps, heartbeat_at=database_time())


def complete(job: Job, outcome: Job.Outcome, result: dict[str, Any]) -> Job:
    """running → completed, by the worker that holds the claim."""
    return _of_claim(job, Event.COMPLETED, {"result": result}, **_completed(outcome, result))


def complete_alone(job: Job, outcome: Job.Outcome, result: dict[str, Any]) -> bool:
    """running → completed without a transaction around it; False when others wait for the room that it leaves.

    Those have to get it in the transaction that ends the job. False also when the claim is lost.
    """
    changes = _completed(outcome, result)
    return bool(_change_claimed(job, Event.COMPLETED, {"result": result}, only_alone=True, **changes))


def _completed(outcome: Job.Outcome, result: dict[str, Any]) -> dict[str, Any]:
    return {
        "status": Status.COMPLETED,
        "outcome": outcome,
        "result": result,
        "error": "",
        "finished_at": timezone.now(),
    }


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
        retries=Sql("retries + 1" if counts else "retries"),
        error=error,
        run_at=run_at,
        dispatched_at=None,
        dispatched_for=None,
        queued_at=None,
    )


def expire(job_ids: Collection[UUID], queued_before: datetime, error: str) -> list[Job]:
    """queued → expired, for those of the jobs that the broker has had since before that moment."""
    return change(
        job_ids,
        [Status.QUEUED],
        Event.EXPIRED,
        [{"error": error}],
        only=[("queued_at", "<=", queued_before)],
        status=Status.EXPIRED,
        error=error,
        finished_at=timezone.now(),
    )


def cancel(job_ids: Collection[UUID], reason: str) -> list[Job]:
    """pending, queued or running → cancelled; the jobs that were. What runs may go on, and can write nothing."""
    return change(
        job_ids,
        Job.ACTIVE,
        Event.CANCELLED,
        [{"error": reason}],
        status=Status.CANCELLED,
        error=reason,
        finished_at=timezone.now(),
    )


def promote(reasons: Mapping[UUID, dict[str, Any]], priority: int, queue: Job.Queue) -> list[Job]:
    """Give waiting jobs another priority (better or worse), and the queue and reason that go with it.

    The jobs that changed: they have to be dispatched again.
    """
    one, *others = reasons.values()
    are_all_the_same = all(other == one for other in others)  # where somebody sets a priority
    same: dict[str, Any] = {"priority_reason": one} if are_all_the_same else {}
    with transaction.atomic():
        changed = change(
            list(reasons),
            Job.WAITING,
            Event.PROMOTED,
            only=[("priority", "<>", priority)],
            priority=priority,
            queue=queue,
            **same,
        )
        if not are_all_the_same:
            for job in changed:
                job.priority_reason = reasons[job.pk]
            Job.objects.bulk_update(changed, ["priority_reason"])
    return changed


def lock_rows(job_ids: Collection[UUID]) -> None:
    """Lock many jobs before they change together, in one order for everybody, so that nobody deadlocks."""
    if connection.features.has_select_for_update:
        list(Job.objects.select_for_update(no_key=True).filter(pk__in=job_ids).order_by("pk").values_list("pk"))


def _of_claim(job: Job, event: JobEvent.Event, *details: dict[str, Any], **changes: Any) -> Job:
    """A transition that only the attempt that holds the claim may make."""
    changed = _change_claimed(job, event, *details, leaves_room=event != Event.PROGRESS, **changes)
    if not changed:
        raise ClaimLost(f"job {job.pk}, attempt {job.attempt}")
    return changed[0]


def _change_claimed(job: Job, event: JobEvent.Event, *details: dict[str, Any], **changes: Any) -> list[Job]:
    claim = [("attempt", "=", job.attempt)]
    return change([job.pk], [Status.RUNNING], event, details, only=claim, brief=True, **changes)
