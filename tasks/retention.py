"""Deletes what is over: old jobs with all that belongs to them, and what Celery and schedules leave behind.

In batches with a transaction each, so that nobody waits for long. Safe to run twice at once.
"""

import logging
import time
from collections import Counter
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from django_celery_results.models import TaskResult

from tasks.models import Backfill, Job, JobEvent, JobRequest, ScheduleRun, Worker

logger = logging.getLogger(__name__)

BATCH = 1_000
PAUSE = 0.05
"""Seconds between two batches: on SQLite, nobody else can write during one."""
WORKERS_STAY = timedelta(days=1)
"""For so long a worker that ended is remembered."""


class Cleanup(NamedTuple):
    """How many rows of each kind were deleted, or would be. `kept`: old jobs whose events are not published yet."""

    jobs: int
    events: int
    requests: int
    backfills: int
    schedule_runs: int
    workers: int
    task_results: int
    kept: int


def cutoff(days: int | None = None) -> datetime:
    """What ended before that is deleted, with so many `days`; None: `jobs.cleanup_after_days`."""
    days = settings.JOB_PROCESSOR.jobs.cleanup_after_days if days is None else days
    return timezone.now() - timedelta(days=days)


def clean_up(before: datetime) -> Cleanup:
    """Delete what ended before then."""
    deleted: Counter[str] = Counter()
    for rows, by in (
        (_jobs(before), "created_at"),
        (_backfills(before), "created_at"),
        (_schedule_runs(before), "ran_at"),
        (_workers(), "started_at"),
        (_task_results(before), "date_done"),
    ):
        deleted += _delete(rows, by)
    cleanup = Cleanup(
        jobs=deleted[Job._meta.label],
        events=deleted[JobEvent._meta.label],
        requests=deleted[JobRequest._meta.label],
        backfills=deleted[Backfill._meta.label],
        schedule_runs=deleted[ScheduleRun._meta.label],
        workers=deleted[Worker._meta.label],
        task_results=deleted[TaskResult._meta.label],
        kept=_kept(before).count(),
    )
    logger.info("deleted what ended before %s: %s", before.isoformat(timespec="seconds"), cleanup)
    return cleanup


def preview(before: datetime) -> Cleanup:
    """What `clean_up` would delete."""
    jobs = _jobs(before)
    return Cleanup(
        jobs=jobs.count(),
        events=JobEvent.objects.filter(job__in=jobs).count(),
        requests=JobRequest.objects.filter(job__in=jobs).count(),
        backfills=_backfills(before).count(),
        schedule_runs=_schedule_runs(before).count(),
        workers=_workers().count(),
        task_results=_task_results(before).count(),
        kept=_kept(before).count(),
    )


def _delete(rows: QuerySet[Any], by: str) -> Counter[str]:
    """Delete rows with what belongs to them, in the order of `by`; how many, by model."""
    deleted: Counter[str] = Counter()
    left = rows.order_by(by)
    while True:
        with transaction.atomic():
            # Another cleanup may be at it.
            batch = list(left.select_for_update(skip_locked=True).values_list("pk", by)[:BATCH])
            _, by_model = rows.model._default_manager.filter(pk__in=[pk for pk, _ in batch]).delete()
        deleted.update(by_model)
        if len(batch) < BATCH:
            return deleted
        # From there on: not past all that was deleted before, and all that stays.
        left = rows.order_by(by).filter(**{f"{by}__gte": batch[-1][1]})
        time.sleep(PAUSE)


def _ended(before: datetime) -> QuerySet[Job]:
    """A job is made before it ends: so an index that is there anyway finds these."""
    return Job.objects.filter(created_at__lt=before, finished_at__lt=before)


def _is_unpublished() -> Exists:
    """Whether the bridge has still to publish an event of a job. It will not publish those that were set aside."""
    return Exists(JobEvent.objects.filter(job=OuterRef("pk"), published_at__isnull=True, error=""))


def _jobs(before: datetime) -> QuerySet[Job]:
    return _ended(before).filter(~_is_unpublished())


def _kept(before: datetime) -> QuerySet[Job]:
    return _ended(before).filter(_is_unpublished())


def _backfills(before: datetime) -> QuerySet[Backfill]:
    """Those of which no job stays."""
    stays = Q(finished_at=None) | Q(finished_at__gte=before) | Q(_is_unpublished())
    return Backfill.objects.filter(~Exists(Job.objects.filter(stays, backfills=OuterRef("pk"))), created_at__lt=before)


def _schedule_runs(before: datetime) -> QuerySet[ScheduleRun]:
    """But the last one of each schedule that exists: it may be a rare one, and a message for it may come again."""
    later = ScheduleRun.objects.filter(schedule=OuterRef("schedule"), pk__gt=OuterRef("pk"))
    is_known = Q(schedule__in=PeriodicTask.objects.values("name"))
    return ScheduleRun.objects.filter(Exists(later) | ~is_known, ran_at__lt=before)


def _workers() -> QuerySet[Worker]:
    """But those whose end the bridge has still to tell."""
    a_while_ago = Now() - WORKERS_STAY
    is_over = Q(stopped_at__lt=a_while_ago) | Q(stopped_at=None, heartbeat_at__lt=a_while_ago)
    return Worker.objects.filter(is_over).exclude(told=Worker.Told.REGISTERED)


def _task_results(before: datetime) -> QuerySet[Any]:
    """Where `celery.backend_cleanup` runs, results of more than a day (`result_expires`) are gone already."""
    results: QuerySet[Any] = TaskResult.objects.filter(date_done__lt=before)
    return results
