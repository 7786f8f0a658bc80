"""Requests of jobs to sources: the budget of the job's queue, and which errors lead to another attempt."""

from collections.abc import Callable
from typing import TypeVar

from market.jobs.limits import share_of
from market.sources.base import SourceBusy, SourceError
from market.sources.budget import spending
from tasks.models import Job
from tasks.running.handlers import JobError, JobSnoozed
from tasks.running.retries import retries_left

_Answer = TypeVar("_Answer")


def ask_source(job: Job, ask: Callable[[], _Answer]) -> _Answer:
    """Ask a source, at the expense of the budget for the job's queue. SourceError if no other attempt follows.

    JobSnoozed while the source is busy. JobError if another attempt may help and an attempt is left.
    """
    try:
        with spending(share_of(job.queue, job.priority)):
            return ask()
    except SourceBusy as busy:
        raise JobSnoozed(busy.cause, busy.until) from busy
    except SourceError as error:
        if error.retryable and retries_left(job):
            raise JobError(str(error), retryable=True) from error
        raise
