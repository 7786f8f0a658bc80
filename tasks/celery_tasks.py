"""The Celery tasks, one for each job type. A message carries the id of a job; the job's row has everything else."""

import logging
from typing import Any
from uuid import UUID

from celery import Task, shared_task
from celery.exceptions import Ignore
from django.conf import settings

from tasks.bulk import runner
from tasks.celery_worker.signals import JobMessage, worker_id
from tasks.delivery.broker import is_amqp
from tasks.models import Job
from tasks.priority import priority_from_broker
from tasks.running.execute import JobFailed, run_message
from tasks.upkeep import group_mails, retention
from tasks.upkeep.sweeper import sweep as sweep_once

logger = logging.getLogger(__name__)


class JobTask(Task):
    """The base class of the tasks of all job types."""

    Request = JobMessage
    throws = (JobFailed,)
    typing = False  # `do_job` refuses a message with wrong arguments, and logs why


def do_job(task: JobTask, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """Run the job with the given id, the only argument. django-celery-results keeps the returned result."""
    try:
        (job_id,) = (UUID(text) for text in args)
    except (AttributeError, TypeError, ValueError):
        logger.error("refused a message for %s: %.200r is not a job id", task.name, args or kwargs)
        raise Ignore from None
    number = (task.request.delivery_info or {}).get("priority")
    sent_with = None if number is None else priority_from_broker(number, amqp=is_amqp())
    endings = run_message(job_id, worker_id(), at_most=sent_with)
    ending = endings.pop(job_id, None)
    if endings and not task.ignore_result:
        task.backend.store_together({str(other): ended for other, ended in endings.items()}, task.request)
    if ending is None:
        raise Ignore  # a duplicate message must not overwrite the stored result of the job
    if isinstance(ending, JobFailed):
        raise ending
    return ending


for _job_type in Job.Type:
    shared_task(
        name=f"stockqueue.{_job_type}",
        base=JobTask,
        bind=True,
        ignore_result=not settings.JOB_PROCESSOR.jobs.keep_task_results,
    )(do_job)


@shared_task(name="stockqueue.tell_ended_groups", ignore_result=True)
def tell_ended_groups() -> int:
    """Mail users whose long-running requests have ended."""
    return group_mails.tell_ended_groups()


@shared_task(name="stockqueue.cleanup", ignore_result=True)
def cleanup() -> None:
    """Delete rows that ended more than `jobs.cleanup_after_days` ago."""
    logger.info("cleanup deleted: %s", retention.clean_up(retention.cutoff()))


@shared_task(name=runner.TASK, ignore_result=True)
def bulk_action(action_id: int) -> None:
    """Continue an action on many jobs."""
    runner.work(action_id)


@shared_task(name="stockqueue.sweep", ignore_result=True)
def sweep() -> int:
    """Rescue, expire and dispatch jobs; beat sends this task every ten seconds."""
    return sweep_once()
