"""Runs a job: claim it, do the work without a transaction, then commit its effect and its end together."""

import logging
from contextlib import suppress
from typing import Any
from uuid import UUID

from celery.exceptions import SoftTimeLimitExceeded
from django.db import DatabaseError, InterfaceError, connection, transaction
from django.utils import timezone

from tasks import job_types
from tasks.delivery.dispatch import release_next
from tasks.models import Job
from tasks.running.handlers import JobError, JobResult, JobSnoozed
from tasks.running.heartbeat import beating
from tasks.running.retries import after, next_attempt, retries_left
from tasks.state import lifecycle
from tasks.state.crash_points import crash_point

logger = logging.getLogger(__name__)


class JobFailed(Exception):
    """The job has ended as failed; the message is its error."""


def run_job(job_id: UUID, worker_id: str, *, at_most: int | None = None) -> dict[str, Any] | None:
    """Run a job and return its result; None if the job cannot be claimed, or will be retried. Raise JobFailed.

    A worker that loses its claim meanwhile writes nothing.
    """
    job = lifecycle.claim(job_id, worker_id, at_most=at_most)
    if job is None:
        logger.info("cannot claim job %s: it runs elsewhere or has ended", job_id)
        return None
    crash_point("claimed")
    with beating(job):
        try:
            return _do(job)
        except lifecycle.ClaimLost as lost:
            logger.warning("%s was cancelled or given to another worker; its result is discarded", lost)
            return None


def _do(job: Job) -> dict[str, Any] | None:
    try:
        done = job_types.find(job.job_type).handler(job)
        crash_point("worked")
        if not isinstance(done, JobResult) or not lifecycle.complete_alone(job, *done):
            with transaction.atomic():
                done = done if isinstance(done, JobResult) else done()
                release_next(lifecycle.complete(job, *done))  # ClaimLost rolls back the stored effect
    except lifecycle.ClaimLost:
        raise
    except JobSnoozed as pause:
        with transaction.atomic():
            release_next(lifecycle.retry(job, str(pause), after(pause.until), counts=False))
        return None
    except JobError as failure:
        _end_attempt(job, failure)
        return None
    except SoftTimeLimitExceeded:
        _end_attempt(job, JobError(f"took longer than {job_types.time_limit(job.job_type)} s", retryable=True))
        return None
    except (DatabaseError, InterfaceError) as error:
        logger.warning("job %s: %s", job.pk, error)
        with suppress(Exception):  # the next statement opens a new connection
            connection.close()
        _end_attempt(job, JobError(f"{type(error).__name__}: {error}".splitlines()[0], retryable=True))
        return None
    except Exception as error:
        logger.exception("job %s failed", job.pk)
        _end_attempt(job, JobError(f"{type(error).__name__}: {error}"))
        return None
    crash_point("ended")
    return done.result


def _end_attempt(job: Job, failure: JobError) -> None:
    """Retry the job later, or end it as failed and raise JobFailed."""
    again = failure.retryable and retries_left(job) > 0
    with transaction.atomic():
        if again:
            job = lifecycle.retry(job, str(failure), next_attempt(job, timezone.now()))
        else:
            job = lifecycle.fail(job, str(failure))
            failure.effect()
        release_next(job)
    if not again:
        raise JobFailed(str(failure)) from failure
