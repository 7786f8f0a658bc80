"""Whether and when a failed job is retried."""

import random
from datetime import datetime, timedelta

from tasks import job_types
from tasks.models import Job

JITTER = 0.25
"""The random part of the delay, so that jobs that failed together are not retried together."""


def retries_left(job: Job) -> int:
    """The number of further attempts that a job may have after the current attempt."""
    return max(0, job_types.find(job.job_type).retries().most - job.retries)


def after(moment: datetime) -> datetime:
    """A random moment up to two seconds after `moment`, so that snoozed jobs do not all start together."""
    return moment + timedelta(seconds=random.uniform(0, 2))  # noqa: S311  (no secret)


def next_attempt(job: Job, now: datetime) -> datetime:
    """The time of the next attempt: the configured delay of this retry, and up to a quarter more."""
    delays = job_types.find(job.job_type).retries().delays
    delay = delays[min(job.retries, len(delays) - 1)]
    return now + timedelta(seconds=delay * (1 + random.uniform(0, JITTER)))  # noqa: S311  (no secret)
