"""Jobs in a given state, for tests that look at them."""

import itertools
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import uuid4

from django.contrib.auth.models import User
from django.utils import timezone

from market.jobs.requests import request_fetches
from market.models import Stock
from tasks.enqueue import JobSpec, enqueue
from tasks.models import Job
from tasks.running.execute import JobFailed, run_job
from tasks.state import lifecycle

_seconds = itertools.count()


def new_job(symbol: str = "AAPL", status: str = "pending", user: User | None = None, **fields: Any) -> Job:
    """A job that `user` asked for, in this state, without the events that led to it."""
    stock, _ = Stock.objects.get_or_create(symbol=symbol)
    job = request_fetches([stock], Job.Trigger.USER_REQUEST, user).created[0]
    if status not in Job.ACTIVE:
        fields.setdefault("finished_at", timezone.now())
    Job.objects.filter(pk=job.pk).update(status=status, **({"refused_at": None} | fields))
    return Job.objects.get(pk=job.pk)


def run_once(job: Job) -> Job:
    """One attempt at a job, in this process; how it is then."""
    lifecycle.mark_queued([job.pk])
    with suppress(JobFailed):
        run_job(job.pk, "worker")
    return Job.objects.get(pk=job.pk)


def result_of(job: Job) -> dict[str, Any]:
    """The result of a job that has one."""
    assert job.result is not None, job.error
    return dict(job.result)


def ended_jobs(count: int, **fields: Any) -> list[Job]:
    """Completed jobs that nobody asked for, each a second newer than the one before, and than those of earlier calls.

    Their symbols are J0, J1, …, unless `fields` say something else.
    """
    yesterday = timezone.now() - timedelta(days=1)
    jobs = []
    for number in range(count):
        created = yesterday + timedelta(seconds=next(_seconds))
        known = {
            "symbol": f"J{number}",
            "job_type": Job.Type.STOCK_FETCH,
            "trigger": Job.Trigger.SCHEDULED_UPDATE,
            "queue": Job.Queue.BACKGROUND_FETCH,
            "priority": 5,
            "status": Job.Status.COMPLETED,
            "created_at": created,
            "finished_at": created,
        }
        jobs.append(Job(unique_key=str(uuid4()), **(known | fields)))
    return Job.objects.bulk_create(jobs)


def many_jobs(count: int, status: str = "pending", user: User | None = None, **fields: Any) -> list[Job]:
    """So many analyses of stocks S0, S1, … in this state, the oldest first, without the events that led to it."""
    wanted = [
        JobSpec(Job.Type.STOCK_ANALYSIS, f"analysis:S{number}", f"S{number}", {"symbol": f"S{number}"})
        for number in range(count)
    ]
    asked = enqueue(wanted, Job.Trigger.BACKGROUND_ANALYSIS, user).created
    if status not in Job.ACTIVE:
        fields.setdefault("finished_at", timezone.now())
    jobs = Job.objects.filter(pk__in=[job.pk for job in asked])
    jobs.update(status=status, **fields)
    return list(jobs.order_by("created_at"))
