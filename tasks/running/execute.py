"""Runs jobs: claim them, do the work without a transaction, then commit each effect together with the job's end."""

import logging
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import Any
from uuid import UUID

from celery.exceptions import SoftTimeLimitExceeded
from django.db import DatabaseError, InterfaceError, connection, transaction
from django.utils import timezone

from tasks import job_types
from tasks.delivery.dispatch import release_next
from tasks.models import Job
from tasks.running.handlers import CohortHandler, JobError, JobResult, JobSnoozed, Part
from tasks.running.heartbeat import beating
from tasks.running.retries import after, next_attempt, retries_left
from tasks.state import lifecycle
from tasks.state.crash_points import crash_point

logger = logging.getLogger(__name__)


class JobFailed(Exception):
    """The job has ended as failed; the message is its error."""


Endings = dict[UUID, dict[str, Any] | JobFailed]
"""The results of completed jobs, and the errors of failed jobs, by id. Jobs that will be retried are left out."""


def run_job(job_id: UUID, worker_id: str, *, at_most: int | None = None) -> dict[str, Any] | None:
    """Run a job and return its result; None if the job cannot be claimed, or will be retried. Raise JobFailed.

    The message also runs other jobs of the cohort. A worker that loses a claim meanwhile writes nothing for the job.
    """
    ending = run_message(job_id, worker_id, at_most=at_most).get(job_id)
    if isinstance(ending, JobFailed):
        raise ending
    return ending


def run_message(job_id: UUID, worker_id: str, *, at_most: int | None = None) -> Endings:
    """Run the job of a message, together with other jobs of its cohort. Return how the jobs ended.

    The message also stands for jobs of the cohort without a message of their own. These jobs run even if the job of
    the message cannot be claimed.
    """
    jobs = _claim(job_id, worker_id, at_most)
    if not jobs:
        logger.info("cannot claim job %s: it runs elsewhere or has ended", job_id)
        return {}
    crash_point("claimed")
    with ExitStack() as stack:
        for job in jobs:
            stack.enter_context(beating(job))
        cohorts = job_types.find(jobs[0].job_type).cohorts
        if cohorts is not None and cohorts.includes(jobs[0].parameters):
            return _run_together(jobs, cohorts.handler)
        return _run_alone(jobs[0])


def _claim(job_id: UUID, worker_id: str, at_most: int | None) -> list[Job]:
    job = lifecycle.claim(job_id, worker_id, at_most=at_most)
    place = (job.cohort, job.queue) if job else Job.objects.filter(pk=job_id).values_list("cohort", "queue").first()
    jobs = [job] if job else []
    if place and place[0]:
        most = job_types.cohort_size(place[0]) - len(jobs)
        try:
            jobs += lifecycle.claim_together(*place, worker_id, claimed_with=job_id, most=most)
        except (DatabaseError, InterfaceError) as error:
            if not jobs:
                raise
            logger.warning("job %s runs without its cohort: %s", job_id, error)
            _close_if_lost(error)
    return jobs


def _run_alone(job: Job) -> Endings:
    try:
        done = job_types.find(job.job_type).handler(job)
        crash_point("worked")
        if not isinstance(done, JobResult) or not lifecycle.complete_alone(job, *done):
            with transaction.atomic():
                done = done if isinstance(done, JobResult) else done()
                release_next([lifecycle.complete(job, *done)])  # ClaimLost rolls back the stored effect
        crash_point("ended")
    except Exception as error:  # noqa: BLE001  (the job ends with the error, and the error is logged)
        return _end_attempt(job, error)
    return {job.pk: done.result}


def _run_together(jobs: Sequence[Job], handler: CohortHandler) -> Endings:
    """Run the jobs of a cohort. An error of the handler counts for the jobs that have not ended by then."""
    left = {job.pk: job for job in jobs}
    endings: Endings = {}
    try:
        for part in handler(jobs):
            crash_point("worked")
            endings |= _end_part(part)
            for job in part.jobs:
                del left[job.pk]
            crash_point("ended")
    except Exception as error:  # noqa: BLE001  (the jobs end with the error, and the error is logged)
        for job in left.values():
            endings |= _end_attempt(job, error)
    return endings


def _end_part(part: Part) -> Endings:
    """Write effects and ends of a part in the same transaction; after an error, in a transaction for each job."""
    try:
        with transaction.atomic():
            held = lifecycle.hold(part.jobs)
            results = part.store(held) if held else []
            results_of = {job.pk: result for job, result in zip(held, results, strict=True)}
            release_next(lifecycle.complete_together(results_of))
    except SoftTimeLimitExceeded:
        raise
    except Exception as error:  # noqa: BLE001  (the jobs end with the error, and the error is logged)
        if len(part.jobs) == 1:
            return _end_attempt(part.jobs[0], error)
        if not isinstance(error, JobError | JobSnoozed):
            logger.warning("%d jobs could not end together: %s: %s", len(part.jobs), type(error).__name__, error)
            _close_if_lost(error)
        alone = [_end_part(Part([job], part.store)) for job in part.jobs]
        return {job_id: ending for endings in alone for job_id, ending in endings.items()}
    if len(held) < len(part.jobs):
        lost = ", ".join(str(job.pk) for job in part.jobs if job not in held)
        logger.warning("jobs were cancelled or given to another worker; their results are discarded: %s", lost)
    return {job.pk: result.result for job, result in zip(held, results, strict=True)}


def _end_attempt(job: Job, error: Exception) -> Endings:
    """Let the job wait, retry the job later, or end it as failed."""
    if isinstance(error, lifecycle.ClaimLost):
        logger.warning("%s was cancelled or given to another worker; its result is discarded", error)
        return {}
    failure = None if isinstance(error, JobSnoozed) else _failure(job, error)
    try:
        with transaction.atomic():
            if isinstance(error, JobSnoozed):
                job = lifecycle.snooze(job, str(error), after(error.until), waits_for=error.waits_for)
            elif failure is not None and failure.retryable and retries_left(job) > 0:
                job = lifecycle.retry(job, str(failure), next_attempt(job, timezone.now()))
            elif failure is not None:
                job = lifecycle.fail(job, str(failure))
                failure.effect()
            release_next([job])
    except lifecycle.ClaimLost as lost:
        return _end_attempt(job, lost)
    return {job.pk: JobFailed(str(failure))} if job.status == Job.Status.FAILED else {}


def _failure(job: Job, error: Exception) -> JobError:
    """The error of a job whose handler, or whose effect, raised `error`."""
    if isinstance(error, JobError):
        return error
    if isinstance(error, SoftTimeLimitExceeded):
        return JobError(f"took longer than {job_types.time_limit(job.job_type)} s", retryable=True)
    if isinstance(error, DatabaseError | InterfaceError):
        logger.warning("job %s: %s", job.pk, error)
        _close_if_lost(error)
        return JobError(f"{type(error).__name__}: {error}".splitlines()[0], retryable=True)
    logger.exception("job %s failed", job.pk, exc_info=error)
    return JobError(f"{type(error).__name__}: {error}")


def _close_if_lost(error: Exception) -> None:
    """Close a connection that may be lost: the next statement opens a new connection."""
    if isinstance(error, DatabaseError | InterfaceError):
        with suppress(Exception):
            connection.close()
