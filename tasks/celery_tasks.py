"""The Celery tasks. A message carries a job's id; the job's row says what to do."""

from typing import Any
from uuid import UUID

from celery import Task, shared_task
from celery.exceptions import Ignore

from tasks.execution import JobFailed, run_stock_fetch
from tasks.sweeper import sweep as send_what_waits


@shared_task(name="stockqueue.stock_fetch", bind=True, throws=(JobFailed,))
def stock_fetch(task: Task, job_id: str) -> dict[str, Any]:
    """Fetch one stock's bars and store them."""
    result = run_stock_fetch(UUID(job_id), task.request.hostname)
    if result is None:
        raise Ignore  # a message too many must not overwrite the stored result of the one that counted
    return result


@shared_task(name="stockqueue.sweep", ignore_result=True)
def sweep() -> int:
    """Send the jobs that the broker has not taken yet."""
    return send_what_waits()
