"""Actions of people on jobs: cancel, rerun, change the priority."""

from collections.abc import Collection, Iterable
from operator import attrgetter
from uuid import UUID

from django.contrib.auth.models import User
from django.db import transaction

from tasks.delivery.dispatch import dispatch_after_commit, send_again_after_commit
from tasks.enqueue import EnqueueResult, JobSpec, enqueue
from tasks.models import Job
from tasks.priority import BANDS, may_be_in, queue_of
from tasks.state import lifecycle


class NotPossible(Exception):
    """The action is not possible for this job; the message says why, and which input would be right."""


def cancel(job_ids: Collection[UUID], by: str) -> list[Job]:
    """Cancel the active jobs, and return them. The results of running jobs are no longer stored."""
    with transaction.atomic():
        cancelled = lifecycle.cancel(job_ids, cancelled_by(by))
        dispatch_after_commit(job.queue for job in cancelled)
    return cancelled


def cancelled_by(name: str) -> str:
    """The error of a job cancelled by a person."""
    return f"cancelled by {name}"


def rerun(jobs: Iterable[Job], user: User | None, trigger: Job.Trigger = Job.Trigger.USER_REQUEST) -> EnqueueResult:
    """Rerun ended jobs: each becomes a new job, or joins an active job.

    For jobs with the same unique key, the newest job is rerun. `trigger` decides the urgency.
    """
    specs = []
    for job in sorted(jobs, key=attrgetter("created_at")):
        if job.status not in Job.ENDED:
            raise NotPossible(f"job {job.pk} is {job.status}; only an ended job can be rerun")
        specs.append(
            JobSpec(
                job_type=Job.Type(job.job_type),
                unique_key=job.unique_key,
                symbol=job.symbol,
                parameters=job.parameters,
                retry_of=job.pk,
            )
        )
    return enqueue(specs, trigger, user)


def reprioritise(job_ids: Collection[UUID], priority: int, by: str) -> list[Job]:
    """Give waiting jobs a priority, and the queue of this priority. Return the changed jobs.

    Raise NotPossible if a job's type cannot be in this queue.
    """
    if not any(priority in band for band in BANDS.values()):
        raise NotPossible(f"priority {priority} is not between 1 and 10")
    queue = queue_of(priority)
    with transaction.atomic():
        jobs = lock_waiting(job_ids)
        for job in jobs:
            allowed = may_be_in(job.job_type, job.parameters)
            if queue not in allowed:
                bands = " or ".join(f"{BANDS[one][0]} to {BANDS[one][-1]}" for one in allowed)
                raise NotPossible(f"{job} cannot have priority {priority}; its type allows {bands}")
        changed = set_priority(jobs, priority, by)
        dispatch_after_commit({job.queue for job in jobs} | {queue})
    return changed


def lock_waiting(job_ids: Collection[UUID]) -> list[Job]:
    """The waiting jobs among these jobs, locked until the transaction ends."""
    lifecycle.lock_rows(job_ids)
    return list(Job.objects.filter(pk__in=job_ids, status__in=Job.WAITING))


def set_priority(jobs: Collection[Job], priority: int, by: str) -> list[Job]:
    """Give a priority to locked waiting jobs. Their types must allow the priority. Return the changed jobs."""
    reason = {"set_by": by, "priority": priority}
    changed = lifecycle.promote({job.pk: reason for job in jobs}, priority, queue_of(priority)) if jobs else []
    send_again_after_commit(changed)
    return changed
