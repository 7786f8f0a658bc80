"""Celery workers of benchmarks, and the rate at which they do what waits for them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from celery import current_app
from django.conf import settings
from django.db import connection
from django.db.models import QuerySet
from django_celery_results.models import TaskResult

from operations.local.child_processes import spawn, stop, wait_until
from tasks.delivery.dispatch import dispatch
from tasks.models import Job

LONGEST = 1_800.0
"""Seconds."""
ROOT = Path(__file__).parents[1]


@contextmanager
def celery(*words: str, **environment: str) -> "Iterator[subprocess.Popen[bytes]]":
    """A Celery worker while the block lasts; its output goes to a file."""
    with (settings.VAR / "worker.log").open("ab") as log:
        argv = [sys.executable, "-m", "celery", *words, "--loglevel", "WARNING"]
        process = spawn(argv, cwd=ROOT, env=os.environ | environment, output=log.fileno())
        try:
            yield process
        finally:
            stop(process, grace=40)


def rate(ends: "QuerySet[Any, Any]", count: int) -> float:
    """Things a second, from when a tenth is done until all are, by the times at which they ended.

    Looks rarely: counting takes the processor from what is measured.
    """
    wait_until(lambda: ends.count() >= count, "all", timeout=LONGEST, every=0.5)
    times = sorted(ends)
    first = count // 10
    seconds: float = (times[-1] - times[first - 1]).total_seconds()
    return (count - first) / seconds


def completed() -> "QuerySet[Any, Any]":
    """When the completed jobs ended."""
    return Job.objects.filter(status=Job.Status.COMPLETED).order_by().values_list("finished_at", flat=True)


def send_all(queue: str) -> None:
    wait_until(
        lambda: not dispatch(queue) and not Job.objects.filter(status="pending").exists(), "dispatch", timeout=600
    )


def forget_jobs() -> None:
    """Empty tables and queues. TRUNCATE, as DELETE would leave a million dead rows behind."""
    current_app.control.purge()
    TaskResult.objects.all().delete()
    with connection.cursor() as cursor:
        tables = ("tasks_jobevent", "tasks_jobrequest", "tasks_job")
        if connection.vendor == "postgresql":
            cursor.execute(f"TRUNCATE {', '.join(tables)} CASCADE")
        else:
            for table in tables:
                cursor.execute(f"DELETE FROM {table}")
