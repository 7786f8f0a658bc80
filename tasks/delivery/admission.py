"""Admission: which pending jobs may go to the broker, within the caps of queues and users.

An admitted job has `dispatched_at` and `dispatched_for`, the requester whose cap counts the job. Jobs are admitted in
a transaction under the queue's lock, so that no cap is exceeded. Messages are sent after the commit.
"""

from collections import Counter
from collections.abc import Collection
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.models import Case, Count, Exists, F, IntegerField, OuterRef, Q, QuerySet, Subquery, Value, When
from django.db.models.functions import Cast, Coalesce
from django.utils import timezone

from tasks.models import Job, JobRequest
from tasks.sql import job_sql

PAGE = 2_000
"""Pending jobs in a query."""
_FIELDS = ("id", "job_type", "priority", "queue", "status", "dispatched_at", "dispatched_for_id")
"""The fields that are read of a pending job, in the model's order."""


def admit(queue: str, at_most: int) -> list[Job]:
    """Admit and return up to `at_most` pending jobs of a queue, the most urgent and oldest first.

    Must be the last step of a transaction: the queue's lock is kept until the commit. A job is admitted as soon as any
    of its requesters is below the cap. The caps of users count each queue separately, so that analyses never delay a
    login.
    """
    job_sql().lock(f"turns in {queue}")
    busy = _holders(queue)
    room = min(at_most, _max_jobs(queue) - busy.total())
    turns: list[Job] = []
    while room > len(turns):
        page = _next_page(queue, busy, at_most=PAGE if at_most > 1 else 1, but=[job.pk for job in turns])
        for payer, *values in page:
            if len(turns) < room and (payer is None or busy[payer] < _cap()):
                job = Job.from_db(connection.alias, _FIELDS, values)
                job.dispatched_for_id = payer
                busy[payer] += 1
                turns.append(job)
        if len(page) < PAGE:
            break
    _write(turns)
    return turns


def give_back(job_ids: Collection[UUID]) -> None:
    """Revoke the admission of jobs that were not sent; the next dispatch admits them again."""
    Job.objects.filter(pk__in=job_ids, status=Job.Status.PENDING).update(dispatched_at=None, dispatched_for=None)


def note_refusal(job_ids: Collection[UUID]) -> None:
    """Record that the broker refused admitted jobs. The record is cleared when the broker accepts jobs again."""
    Job.objects.filter(pk__in=job_ids, status=Job.Status.PENDING).update(
        refused_at=Coalesce("refused_at", timezone.now())
    )


def forget_refusals(queue: str) -> None:
    """Clear the refusals of a queue's jobs: the broker has accepted all admitted jobs, and the caps delay the rest."""
    Job.objects.refused().filter(queue=queue).update(refused_at=None)


def forget_unused(older_than: timedelta) -> int:
    """Revoke admissions without a sent message after `older_than`: the admitting process has died in between."""
    unused = Job.objects.active().filter(status=Job.Status.PENDING, dispatched_at__lte=timezone.now() - older_than)
    return unused.update(dispatched_at=None, dispatched_for=None)


def _due(queue: str) -> QuerySet[Job]:
    now = timezone.now()
    return Job.objects.active().filter(
        Q(run_at=None) | Q(run_at__lte=now), queue=queue, status=Job.Status.PENDING, dispatched_at=None
    )


def _max_jobs(queue: str) -> int:
    return int(getattr(settings.JOB_PROCESSOR.queue.priority_queues, queue).max_jobs)


def _cap() -> int:
    return int(settings.JOB_PROCESSOR.stock_jobs.portfolio_priority.max_concurrent_per_user)


def _holders(queue: str) -> "Counter[int | None]":
    """Count the jobs within the caps, by user (None: the system): sent, about to be sent, or running."""
    held = Job.objects.active().filter(queue=queue, dispatched_at__isnull=False).order_by()
    return Counter(dict(held.values_list("dispatched_for").annotate(jobs=Count("pk"))))


def _next_page(
    queue: str, busy: "Counter[int | None]", *, at_most: int, but: Collection[UUID]
) -> list[tuple[Any, ...]]:
    """Pending jobs with a requester below the cap: the requester (None: the system), and the job's `_FIELDS`.

    Plain values, because most of the jobs have to wait, and model objects would take most of the time.
    """
    full = [user for user, jobs in busy.items() if user is not None and jobs >= _cap()]
    requests = JobRequest.objects.filter(job=OuterRef("pk"))
    with_room = requests.exclude(user__in=full)
    free_first = with_room.order_by(F("user").asc(nulls_first=True))
    jobs = _due(queue).exclude(pk__in=but)
    if full:  # without this test, PostgreSQL would read every request
        jobs = jobs.filter(Exists(with_room) | ~Exists(requests))  # deleting a user deletes the requests
    return list(
        jobs.annotate(payer=Subquery(free_first.values("user")[:1]))
        .order_by("priority", "created_at")
        .values_list("payer", *_FIELDS)[:at_most]
    )


def _write(turns: Collection[Job]) -> None:
    if not turns:
        return
    now = timezone.now()
    jobs_of: dict[int | None, list[UUID]] = {}
    for job in turns:
        job.dispatched_at = now
        jobs_of.setdefault(job.dispatched_for_id, []).append(job.pk)
    whose = Case(*(When(pk__in=ids, then=Value(user)) for user, ids in jobs_of.items()), output_field=IntegerField())
    payer = Cast(whose, IntegerField())  # PostgreSQL could not infer the type if all values were NULL
    # An UPDATE alone locks rows in any order, and could deadlock with an UPDATE that marks the same jobs as queued.
    ours = Job.objects.select_for_update(no_key=True).filter(pk__in=[job.pk for job in turns]).order_by("pk")
    Job.objects.filter(pk__in=ours.values("pk"), status=Job.Status.PENDING).update(
        dispatched_at=now, dispatched_for_id=payer
    )
