"""The transitions of jobs, each a compare-and-set with an event. No other module writes a status."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from tasks.models import Job, JobEvent
from tasks.sql import job_sql
from tasks.sql.base import Sql
from tasks.state.transitions import BRIEF, FOR_WORK, change, insert

Event = JobEvent.Event
Status = Job.Status

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class ClaimLost(Exception):
    """The attempt no longer holds the job: another worker has it, or the job has ended."""


def create(jobs: Sequence[Job]) -> Collection[UUID]:
    """Insert the jobs whose `unique_key` is free, with their first events and requests. Return the inserted ids."""
    return insert(jobs, Event.CREATED, {job.pk: {"retry_of": str(job.retry_of_id)} for job in jobs if job.retry_of_id})


def mark_queued(job_ids: Collection[UUID], *, admitted: bool = False) -> list[Job]:
    """pending → queued, for jobs in the broker that no worker has claimed yet.

    `admitted`: only jobs with an admission. Without one, the worker was faster than the sender, and the job is waiting
    again, for example for a retry. There is no message for that attempt yet.
    """
    return change(
        job_ids,
        [Status.PENDING],
        Event.QUEUED,
        fields=BRIEF,
        only=[("dispatched_at", ">", _LONG_AGO)] if admitted else [],
        status=Status.QUEUED,
        queued_at=timezone.now(),
        refused_at=None,
        # If the sender gave up on a message that did arrive, the job lost its admission. Now it counts within the
        # caps.
        dispatched_at=Sql('COALESCE("dispatched_at", "created_at")'),
    )


def claim(job_id: UUID, worker_id: str, *, at_most: int | None = None) -> Job | None:
    """queued → running for one worker; None if the job cannot be claimed. `attempt` is the claim's token.

    `at_most` is the priority of the message. A job with a less urgent priority by now is left to its newer message.
    """
    claimed = _claim(job_id, worker_id, at_most)
    if not claimed:
        with transaction.atomic():
            # A message can arrive before or while its sender marks the job as queued: this call waits for the sender.
            mark_queued([job_id])
            claimed = _claim(job_id, worker_id, at_most)
    return claimed[0] if claimed else None


def _claim(job_id: UUID, worker_id: str, at_most: int | None) -> list[Job]:
    return change(
        [job_id],
        [Status.QUEUED],
        Event.STARTED,
        only=[] if at_most is None else [("priority", "<=", at_most)],
        fields=FOR_WORK,
        **_started(worker_id, job_id),
    )


def claim_together(cohort: str, queue: str, worker_id: str, *, claimed_with: UUID, most: int) -> list[Job]:
    """Claim up to `most` admitted jobs of a cohort, the most urgent and oldest first. `claimed_with`: the message.

    Includes jobs whose messages are not sent yet: their senders rely on the message that led here.
    """
    admitted = Job.objects.active().filter(dispatched_at__isnull=False, queue=queue, cohort=cohort)
    claimed: list[Job] = []
    with transaction.atomic():
        # Otherwise two workers could choose the same jobs, and leave other jobs without a message.
        job_sql().lock(f"cohorts in {queue}")
        while len(claimed) < most and (chosen := _choose(admitted, most - len(claimed))):
            mark_queued([job.pk for job in chosen if job.status == Status.PENDING])
            ids = [job.pk for job in chosen]
            started = change(ids, [Status.QUEUED], Event.STARTED, fields=FOR_WORK, **_started(worker_id, claimed_with))
            claimed += sorted(started, key=lambda job: ids.index(job.pk))
            if len(started) == len(chosen):
                break
            # Another worker has claimed a chosen job with a message of its own. The message here stands for one more.
    return claimed


def _choose(admitted: QuerySet[Job], most: int) -> list[Job]:
    # In this order, and each job once: its sender may mark a job as queued between the two queries.
    found = {job.pk: job for job in _first(admitted.filter(status=Status.PENDING), most)}
    found |= {job.pk: job for job in _first(admitted.filter(status=Status.QUEUED), most)}
    return sorted(found.values(), key=lambda job: (job.priority, job.created_at))[:most]


def _first(jobs: QuerySet[Job], most: int) -> list[Job]:
    return list(jobs.order_by("priority", "created_at").only("priority", "created_at", "status")[:most])


def _started(worker_id: str, claimed_with: UUID) -> dict[str, Any]:
    return {
        "attempt": Sql("attempt + 1"),
        "status": Status.RUNNING,
        "worker_id": worker_id,
        "claimed_with": claimed_with,
        "started_at": timezone.now(),
        "heartbeat_at": job_sql().time(),
        "run_at": None,
        "waits_for": None,
    }


def hold(jobs: Sequence[Job]) -> list[Job]:
    """Lock claimed jobs until the commit. Return the jobs that their attempts still hold, in the same order."""
    rows = Job.objects.filter(pk__in=[job.pk for job in jobs], status=Status.RUNNING).order_by("pk")
    if connection.features.has_select_for_update:
        rows = rows.select_for_update(no_key=True)
    held = set(rows.values_list("pk", "attempt"))
    return [job for job in jobs if (job.pk, job.attempt) in held]


def report_progress(job: Job, steps: Sequence[dict[str, Any]]) -> Job:
    """running → running, with an event for each step. The events remain for a later attempt."""
    return _of_claim(job, Event.PROGRESS, *steps, heartbeat_at=job_sql().time())


def complete(job: Job, outcome: Job.Outcome, result: dict[str, Any]) -> Job:
    """running → completed, by the worker with the claim."""
    return _of_claim(job, Event.COMPLETED, {}, told=["result"], **_completed(outcome=outcome, result=result))


def complete_together(results: Mapping[UUID, tuple[Job.Outcome, dict[str, Any]]]) -> list[Job]:
    """running → completed, for jobs that their claims `hold` in this transaction."""
    return change(
        list(results),
        [Status.RUNNING],
        Event.COMPLETED,
        fields=BRIEF,
        leaves_room=True,
        own={job_id: {"outcome": outcome, "result": result} for job_id, (outcome, result) in results.items()},
        told=["result"],
        **_completed(),
    )


def complete_alone(job: Job, outcome: Job.Outcome, result: dict[str, Any]) -> bool:
    """running → completed without a surrounding transaction. False if other jobs wait for admission in its queue.

    Then the job has to end in a transaction that also admits the next job. Also False if the claim is lost.
    """
    changes = _completed(outcome=outcome, result=result)
    return bool(_change_claimed(job, Event.COMPLETED, {}, told=["result"], only_alone=True, **changes))


def _completed(**outcome: Any) -> dict[str, Any]:
    return {"status": Status.COMPLETED, "error": "", "finished_at": timezone.now(), **outcome}


def fail(job: Job, error: str) -> Job:
    """running → failed for good, by the worker with the claim, or on behalf of a lost worker."""
    return _of_claim(
        job, Event.FAILED, {"error": error}, status=Status.FAILED, error=error, finished_at=timezone.now()
    )


_NOT_ADMITTED: dict[str, Any] = {"dispatched_at": None, "dispatched_for": None, "queued_at": None}


def retry(job: Job, error: str, run_at: datetime, *, counts: bool = True) -> Job:
    """running → pending, for another attempt at `run_at`. `counts`: whether to use up a retry of the job."""
    return _of_claim(
        job,
        Event.RETRIED,
        {"error": error, "run_at": run_at.isoformat()},
        status=Status.PENDING,
        retries=Sql("retries + 1" if counts else "retries"),
        error=error,
        waiting_for="",
        run_at=run_at,
        **_NOT_ADMITTED,
    )


def snooze(job: Job, waiting_for: str, run_at: datetime, *, waits_for: UUID | None = None) -> Job:
    """running → pending, until `run_at` or the end of the job `waits_for`. That is no retry.

    An event tells what the job waits for, unless the job has already waited for the same.
    """
    told = [] if job.waiting_for == waiting_for else [{"waiting_for": waiting_for, "until": run_at.isoformat()}]
    return _of_claim(
        job,
        Event.PROGRESS,
        *told,
        status=Status.PENDING,
        waiting_for=waiting_for,
        waits_for=waits_for,
        run_at=run_at,
        **_NOT_ADMITTED,
    )


def wake(job_ids: Collection[UUID] | None = None) -> set[str]:
    """End the waits for these jobs, or for all jobs that have ended. Return the queues with jobs to dispatch."""
    waiting = Job.objects.active().filter(status=Status.PENDING, waits_for__isnull=False).order_by()
    if job_ids is None:
        waiting = waiting.exclude(Exists(Job.objects.active().filter(pk=OuterRef("waits_for"))))
    else:
        waiting = waiting.filter(waits_for__in=job_ids)
    woken = dict(waiting.values_list("pk", "queue"))
    if woken:
        lock_rows(woken.keys())
        Job.objects.filter(pk__in=woken, status=Status.PENDING).update(run_at=None, waits_for=None)
    return set(woken.values())


def expire(job_ids: Collection[UUID], queued_before: datetime, error: str) -> list[Job]:
    """queued → expired, for jobs in the broker since `queued_before` or earlier."""
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
    """pending, queued or running → cancelled. Return the cancelled jobs. Late writes of running jobs are refused."""
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
    """Give waiting jobs another priority (better or worse), with its queue and reason.

    Return the changed jobs, which have to be dispatched again.
    """
    return change(
        list(reasons),
        Job.WAITING,
        Event.PROMOTED,
        only=[("priority", "<>", priority)],
        own={job_id: {"priority_reason": reason} for job_id, reason in reasons.items()},
        priority=priority,
        queue=queue,
    )


def lock_rows(job_ids: Collection[UUID]) -> None:
    """Lock many jobs before they change together, always in the same order, so that no deadlock occurs."""
    if connection.features.has_select_for_update:
        list(Job.objects.select_for_update(no_key=True).filter(pk__in=job_ids).order_by("pk").values_list("pk"))


def _of_claim(job: Job, event: JobEvent.Event, *details: dict[str, Any], **changes: Any) -> Job:
    """Make a transition that needs the claim. Raise ClaimLost if the attempt no longer holds it."""
    changed = _change_claimed(job, event, *details, leaves_room="status" in changes, **changes)
    if not changed:
        raise ClaimLost(f"job {job.pk}, attempt {job.attempt}")
    return changed[0]


def _change_claimed(job: Job, event: JobEvent.Event, *details: dict[str, Any], **changes: Any) -> list[Job]:
    claim = [("attempt", "=", job.attempt)]
    return change([job.pk], [Status.RUNNING], event, details, only=claim, fields=BRIEF, **changes)
