"""The effect of a bulk action on a batch of jobs. No function waits, and none does anything twice."""

from collections import Counter
from collections.abc import Collection, Iterable
from typing import NamedTuple
from uuid import UUID

from django.contrib.auth.models import User

from tasks import control
from tasks.models import BulkAction, Job
from tasks.priority import may_be_in, queue_of
from tasks.state import lifecycle


class Changed(NamedTuple):
    """How many jobs of a batch were changed, and the reasons for skipping the rest."""

    done: int
    skipped: Counter[str]


def change(action: BulkAction, jobs: Collection[Job]) -> Changed:
    """Apply the action to these jobs, the newest first. Needs a transaction, and an action with a user."""
    match action.kind:
        case BulkAction.Kind.CANCEL:
            return _cancel(action, jobs)
        case BulkAction.Kind.RUN_AGAIN:
            return _run_again(action, jobs)
        case _:
            return _reprioritise(action, jobs)


def _cancel(action: BulkAction, jobs: Collection[Job]) -> Changed:
    """The sweeper admits further jobs in place of cancelled jobs, once for many batches."""
    cancelled = lifecycle.cancel([job.pk for job in jobs], control.cancelled_by(_user(action).get_username()))
    return Changed(len(cancelled), _how_others_are(jobs, cancelled))


def _run_again(action: BulkAction, jobs: Collection[Job]) -> Changed:
    """Rerun each unique key once, in the background: no user waits for these jobs."""
    ended = [job for job in jobs if job.status in Job.ENDED]
    skipped = Counter(job.status for job in jobs if job.status not in Job.ENDED)
    newest: dict[str, Job] = {}
    for job in ended:
        newest.setdefault(job.unique_key, job)
    asked = _asked_for_since(action, newest.values())
    again = [job for key, job in newest.items() if key not in asked]
    if others := len(ended) - len(again):
        skipped["covered by another rerun"] = others
    control.rerun(again, _user(action), Job.Trigger.MAINTENANCE)
    return Changed(len(again), skipped)


def _asked_for_since(action: BulkAction, jobs: Iterable[Job]) -> set[str]:
    """The unique keys that were requested again since the action began, by the action or by anybody else."""
    keys = {job.unique_key: job.symbol for job in jobs}
    same = Job.objects.filter(unique_key__in=keys)
    created = same.filter(symbol__in=set(keys.values()), created_at__gt=action.created_at)
    joined = same.active().filter(requests__user=action.user, requests__created_at__gt=action.created_at)
    return {*created.values_list("unique_key", flat=True), *joined.values_list("unique_key", flat=True)}


def _reprioritise(action: BulkAction, jobs: Collection[Job]) -> Changed:
    priority = action.priority
    assert priority is not None  # noqa: S101  (an action of this kind has a priority)
    waiting = control.lock_waiting([job.pk for job in jobs])
    fitting = [job for job in waiting if queue_of(priority) in may_be_in(job.job_type, job.parameters)]
    changed = control.set_priority(fitting, priority, _user(action).get_username())
    found = {job.pk for job in changed}
    skipped = Counter(
        "of that priority already" if job in fitting else f"{job.job_type}: cannot have that priority"
        for job in waiting
        if job.pk not in found
    )
    return Changed(len(changed), skipped + _how_others_are(jobs, waiting))


def _user(action: BulkAction) -> User:
    assert isinstance(action.user, User)  # noqa: S101  (tasks.bulk.runner stops an action whose user is gone)
    return action.user


def _how_others_are(jobs: Iterable[Job], done: Collection[Job]) -> Counter[str]:
    left: set[UUID] = {job.pk for job in jobs} - {job.pk for job in done}
    statuses = dict(Job.objects.filter(pk__in=left).values_list("pk", "status")) if left else {}
    return Counter(statuses.get(pk, "deleted meanwhile") for pk in left)
