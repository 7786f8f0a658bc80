"""Whether and when a job that failed is tried again."""

import random
from datetime import datetime, timedelta

from django.conf import settings

from tasks.models import Job

JITTER = 0.25
"""Part of the delay that is added at random, so that jobs that failed together do not come back together."""

_FETCHES = (Job.Type.STOCK_FETCH, Job.Type.STOCK_BATCH_FETCH)


def retries_left(job: Job) -> int:
    """How many more attempts a job may have after this one."""
    allowed = (
        settings.JOB_PROCESSOR.stock_jobs.data_fetch.max_retries
        if job.job_type in _FETCHES
        else settings.JOB_PROCESSOR.jobs.max_retries
    )
    return max(0, int(allowed) - job.retries)


def after(moment: datetime) -> datetime:
    """A moment in the next two seconds: what waits for the same thing does not come back together."""
    return moment + timedelta(seconds=random.uniform(0, 2))  # noqa: S311  (no secret)


def next_attempt(job: Job, now: datetime) -> datetime:
    """When to try again: the configured delay for this retry, and up to a quarter more."""
    if job.job_type in _FETCHES:
        delays = settings.JOB_PROCESSOR.stock_jobs.data_fetch.retry_backoff
        delay = delays[min(job.retries, len(delays) - 1)]
    else:
        delay = settings.JOB_PROCESSOR.jobs.retry_delay
    return now + timedelta(seconds=delay * (1 + random.uniform(0, JITTER)))  # noqa: S311  (no secret)
