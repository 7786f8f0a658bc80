"""What a Celery worker does besides its tasks: it sweeps when it starts, hands back what it cannot finish when it is
stopped, and reports its lost children at once.
"""

import logging
import os
import signal
import threading
from typing import Any
from uuid import UUID

from billiard.exceptions import WorkerLostError
from celery.signals import worker_init, worker_ready, worker_shutdown, worker_shutting_down
from celery.worker.request import Request
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection

from tasks import direct
from tasks.models import Job
from tasks.sweeper import give_up

logger = logging.getLogger(__name__)

GRACE = 20.0
"""Seconds that running jobs have to end after SIGTERM; then they are handed back, and the worker ends."""

_name = "worker"
_pid = 0


def worker_id() -> str:
    """Who runs the jobs: the worker's name and its main process, so that two workers of one name are told apart."""
    return f"{_name}:{_pid or os.getpid()}"


@worker_init.connect
def note_who_we_are(sender: Any, **_: Any) -> None:
    global _name, _pid
    _name, _pid = settings.JOB_PROCESSOR.worker.worker_id or sender.hostname, os.getpid()
    direct.configure(None, None)  # what no broker takes from a worker waits for the sweeper


@worker_ready.connect
def sweep_at_start(sender: Any, **_: Any) -> None:
    queue = next(iter(sender.app.amqp.queues.consume_from))
    sender.app.send_task("stockqueue.sweep", queue=queue, expires=60)


@worker_shutting_down.connect
def limit_the_wait(how: str, **_: Any) -> None:
    """A warm shutdown waits for what runs, however long that takes; this bounds it."""
    if how == "Warm":
        timer = threading.Timer(GRACE, _end_now)
        timer.daemon = True
        timer.start()


def _end_now() -> None:
    hand_back()
    os.kill(os.getpid(), signal.SIGQUIT)  # a cold shutdown: kills what still runs


@worker_shutdown.connect
def hand_back(**_: Any) -> None:
    """Give the jobs that this worker still has to others; that does not use up a retry."""
    try:
        for job in Job.objects.filter(status=Job.Status.RUNNING, worker_id=worker_id()):
            give_up(job, f"the worker {job.worker_id} was stopped", counts=False)
    except (DatabaseError, InterfaceError) as error:
        logger.warning("running jobs could not be handed back, and will be rescued: %s", error)
    finally:
        connection.close()


class JobMessage(Request):
    """A message in the worker's main process, which hears first that a child has died."""

    def on_failure(self, exc_info: Any, *args: Any, **kwargs: Any) -> Any:
        error = getattr(exc_info.exception, "exc", exc_info.exception)
        if isinstance(error, WorkerLostError):
            _report_lost(self.id)
        return super().on_failure(exc_info, *args, **kwargs)

    def on_timeout(self, soft: bool, timeout: float) -> Any:
        if not soft:
            _report_lost(self.id, f"took longer than its time limit, and was killed after {timeout:g} s")
        return super().on_timeout(soft, timeout)


def _report_lost(job_id: str, error: str = "the process that ran it died") -> None:
    try:
        job = Job.objects.filter(pk=UUID(job_id), status=Job.Status.RUNNING, worker_id=worker_id()).first()
        if job is not None:
            give_up(job, error)
    except (DatabaseError, InterfaceError, ValueError) as trouble:
        logger.warning("job %s lost its process, and will be rescued: %s", job_id, trouble)
    finally:
        connection.close()
