"""Whether and when a job that failed is tried again."""

import random
from datetime import datetime, timedelta

from tasks import job_types
from tasks.models import Job

JITTER = 0.25
"""Part of the delay that is added at random, so that jobs that failed together do not come back together."""


def retries_left(job: Job) -> int:
    """How many more attempts a job may have after this one."""
    return max(0, job_types.find(job.job_type).retries().most - job.retries)


def after(moment: datetime) -> datetime:
    """A moment in the next two seconds: what waits for the same thing does not come back together."""
    return moment + timedelta(seconds=random.uniform(0, 2))  # noqa: S311  (no secret)


def next_attempt(job: Job, now: datetime) -> datetime:
    """When to try again: the configured delay for this retry, and up to a quarter more."""
    delays = job_types.find(job.job_type).retries().delays
    delay = delays[min(job.retries, len(delays) - 1)]
    return now + timedelta(seconds=delay * (1 + random.uniform(0, JITTER)))  # noqa: S311  (no secret)
