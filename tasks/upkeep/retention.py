"""Deletes old jobs with all dependent rows, and old rows of Celery and of schedules.

Each batch has its own transaction, so that nobody waits for long. Safe to run twice at once.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from django_celery_results.models import TaskResult

from tasks.models import UNPUBLISHED, BulkAction, Job, JobEvent, JobGroup, JobRequest, ScheduleRun, Worker

ROWS_PER_BATCH = 250
PAUSE_BETWEEN_BATCHES = 0.12
"""Seconds between two batches. On SQLite, a batch blocks all other writers, which try again after 0.1 s."""
WORKERS_STAY = timedelta(days=1)
"""The time that an ended worker stays in the worker registry."""


class Cleanup(NamedTuple):
    """How many rows of each kind were, or would be, deleted. `more` counts the rows of other apps by name.

    `kept`: old jobs with unpublished events.
    """

    jobs: int
    events: int
    requests: int
    job_groups: int
    bulk_actions: int
    schedule_runs: int
    workers: int
    task_results: int
    more: Mapping[str, int]
    kept: int

    def counts(self) -> dict[str, int]:
        """The counts of all kinds of rows, by name."""
        own = {name: count for name, count in self._asdict().items() if name not in ("more", "kept")}
        return own | dict(self.more)


class _More(NamedTuple):
    rows: Callable[[datetime], QuerySet[Any]]
    by: str


_more: dict[str, _More] = {}


def also_delete(name: str, rows: Callable[[datetime], QuerySet[Any]], by: str) -> None:
    """Register rows of another app for deletion in each cleanup, in the order of the column `by`.

    `rows` gets the moment before which rows count as old.
    """
    _more[name] = _More(rows, by)


def cutoff(days: int | None = None) -> datetime:
    """The time before which ended rows are deleted: `days` ago, by default `jobs.cleanup_after_days` ago."""
    days = settings.JOB_PROCESSOR.jobs.cleanup_after_days if days is None else days
    return timezone.now() - timedelta(days=days)


def clean_up(before: datetime) -> Cleanup:
    """Delete all rows that ended before the moment `before`."""
    deleted: Counter[str] = Counter()
    deleted += _delete(_ended(before), "finished_at", _unpublished)
    for rows, by in (
        (_groups(before), "created_at"),
        (_bulk_actions(before), "created_at"),
        (_schedule_runs(before), "ran_at"),
        (_workers(), "started_at"),
        (_task_results(before), "date_done"),
        *((more.rows(before), more.by) for more in _more.values()),
    ):
        deleted += _delete(rows, by)
    return Cleanup(
        jobs=deleted[Job._meta.label],
        events=deleted[JobEvent._meta.label],
        requests=deleted[JobRequest._meta.label],
        job_groups=deleted[JobGroup._meta.label],
        bulk_actions=deleted[BulkAction._meta.label],
        schedule_runs=deleted[ScheduleRun._meta.label],
        workers=deleted[Worker._meta.label],
        task_results=deleted[TaskResult._meta.label],
        more={name: deleted[more.rows(before).model._meta.label] for name, more in _more.items()},
        kept=_kept(before).count(),
    )


def preview(before: datetime) -> Cleanup:
    """The result of `clean_up`, without deleting anything."""
    ended, kept = _ended(before), _kept(before)
    return Cleanup(
        jobs=ended.count() - kept.count(),
        events=JobEvent.objects.filter(job__in=ended).count() - JobEvent.objects.filter(job__in=kept).count(),
        requests=JobRequest.objects.filter(job__in=ended).count() - JobRequest.objects.filter(job__in=kept).count(),
        job_groups=_groups(before).count(),
        bulk_actions=_bulk_actions(before).count(),
        schedule_runs=_schedule_runs(before).count(),
        workers=_workers().count(),
        task_results=_task_results(before).count(),
        more={name: more.rows(before).count() for name, more in _more.items()},
        kept=kept.count(),
    )


def _none(_pks: list[Any]) -> set[Any]:
    return set()


def _delete(rows: QuerySet[Any], by: str, which_stay: Callable[[list[Any]], set[Any]] = _none) -> Counter[str]:
    """Delete rows and their dependent rows, in the order of `by`, except kept rows. Return the counts by model.

    `which_stay` finds the kept rows of each batch. A condition in the query would take minutes if many events are
    unpublished and the database has no statistics yet: the database compares each row with each event.
    """
    deleted: Counter[str] = Counter()
    ordered = left = rows.order_by(by, "pk")
    while True:
        with transaction.atomic():
            # Another cleanup may run at the same time.
            batch = list(left.select_for_update(skip_locked=True).values_list(by, "pk")[:ROWS_PER_BATCH])
            found = [pk for _, pk in batch]
            _, by_model = rows.model._default_manager.filter(pk__in=set(found) - which_stay(found)).delete()
        deleted.update(by_model)
        if len(batch) < ROWS_PER_BATCH:
            return deleted
        last, last_pk = batch[-1]
        left = ordered.filter(**{f"{by}__gte": last}).exclude(**{by: last, "pk__lte": last_pk})
        time.sleep(PAUSE_BETWEEN_BATCHES)


def _ended(before: datetime) -> QuerySet[Job]:
    return Job.objects.filter(finished_at__lt=before)


def _unpublished(job_ids: list[Any]) -> set[Any]:
    return set(JobEvent.objects.filter(UNPUBLISHED, job__in=job_ids).values_list("job_id", flat=True))


def _kept(before: datetime) -> QuerySet[Job]:
    return _ended(before).filter(pk__in=JobEvent.objects.filter(UNPUBLISHED).values("job"))


def _groups(before: datetime) -> QuerySet[JobGroup]:
    """Old groups without a remaining job."""
    young = Job.objects.filter(Q(finished_at=None) | Q(finished_at__gte=before), groups=OuterRef("pk"))
    unpublished = JobEvent.objects.filter(UNPUBLISHED, job__groups=OuterRef("pk"))
    return JobGroup.objects.filter(~Exists(young), ~Exists(unpublished), created_at__lt=before)


def _bulk_actions(before: datetime) -> QuerySet[BulkAction]:
    return BulkAction.objects.filter(finished_at__lt=before)


def _schedule_runs(before: datetime) -> QuerySet[ScheduleRun]:
    """Old runs, except the last run of each existing schedule: a late message for its slot may still arrive."""
    later = ScheduleRun.objects.filter(schedule=OuterRef("schedule"), pk__gt=OuterRef("pk"))
    is_known = Q(schedule__in=PeriodicTask.objects.values("name"))
    return ScheduleRun.objects.filter(Exists(later) | ~is_known, ran_at__lt=before)


def _workers() -> QuerySet[Worker]:
    """Ended workers, except workers whose end the bridge still has to announce."""
    a_while_ago = Now() - WORKERS_STAY
    is_over = Q(stopped_at__lt=a_while_ago) | Q(stopped_at=None, heartbeat_at__lt=a_while_ago)
    return Worker.objects.filter(is_over).exclude(told=Worker.Told.REGISTERED)


def _task_results(before: datetime) -> QuerySet[Any]:
    """With `celery.backend_cleanup`, results older than a day (`result_expires`) are gone already."""
    results: QuerySet[Any] = TaskResult.objects.filter(date_done__lt=before)
    return results
