"""Signal receivers of a Celery worker: a sweep at its start, its registration, and its shutdown.

At a shutdown, the worker hands back its unfinished jobs. It reports lost child processes at once.
"""

import logging
import os
import signal
import socket
import threading
from contextlib import suppress
from typing import Any
from uuid import UUID

from billiard import active_children
from billiard.exceptions import WorkerLostError
from celery.signals import (
    celeryd_init,
    task_prerun,
    worker_init,
    worker_ready,
    worker_shutdown,
    worker_shutting_down,
)
from celery.worker import state
from celery.worker.request import Request
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection

from tasks.celery_worker import registry
from tasks.celery_worker.connections import close_lost_connections
from tasks.delivery import direct
from tasks.job_types import queues_of
from tasks.models import Job, Worker
from tasks.upkeep.sweeper import give_up

logger = logging.getLogger(__name__)

GRACE = 20.0
"""Seconds for running jobs to end after SIGTERM; then they are handed back, and the worker ends."""

SHUTDOWN_STEP = 3.0
"""Seconds for each further step of a shutdown: handing back, ending normally, ending when killed."""

_name = "worker"
_pid = 0
_stopping = threading.Event()

task_prerun.connect(close_lost_connections)


def worker_id() -> str:
    """The worker id for jobs: the worker's name and main process, which differ for two workers of the same name."""
    return f"{_name}:{_pid or os.getpid()}"


@celeryd_init.connect
def take_the_queues_of_its_job_types(instance: Any, options: dict[str, Any], **_: Any) -> None:
    """A worker without -Q consumes all queues, or the queues of `worker.supported_job_types`."""
    supported = settings.JOB_PROCESSOR.worker.supported_job_types
    if supported and not options.get("queues"):
        taken = {queue: None for job_type in supported for queue in queues_of(job_type)}
        instance.app.amqp.queues.select(list(taken))


@worker_init.connect
def note_who_we_are(sender: Any, **_: Any) -> None:
    global _name, _pid
    # Celery's default name contains the host; a configured name may be used on several hosts.
    configured = settings.JOB_PROCESSOR.worker.worker_id
    _name = f"{configured}@{socket.gethostname()}" if configured else sender.hostname
    _pid = os.getpid()
    direct.configure(None, None)  # jobs of a worker without a broker wait for the sweeper


@worker_ready.connect
def sweep_at_start(sender: Any, **_: Any) -> None:
    queue = next(iter(sender.app.amqp.queues.consume_from))
    sender.app.send_task("stockqueue.sweep", queue=queue, expires=60)


@worker_ready.connect
def say_that_we_are_there(sender: Any, **_: Any) -> None:
    configured = settings.JOB_PROCESSOR.worker
    registry.enter(
        Worker(
            worker_id=worker_id(),
            name=configured.name or "",
            hostname=socket.gethostname(),
            pid=_pid,
            queues=list(sender.app.amqp.queues.consume_from),
            concurrency=sender.pool.num_processes,
            job_types=list(configured.supported_job_types),
            capabilities=list(configured.capabilities),
        )
    )


@worker_shutting_down.connect
def limit_the_wait(how: str, **_: Any) -> None:
    """Limit a warm shutdown, which waits for all running jobs. A cold shutdown hands them back at once."""
    if how == "Cold":
        threading.Thread(target=_hand_back_and_leave, name="hand-back").start()
    elif not _stopping.is_set():
        _stopping.set()
        threading.Thread(target=_limit_the_wait, name="grace", daemon=True).start()


def _limit_the_wait() -> None:
    never = threading.Event()
    never.wait(GRACE)
    leaving = threading.Thread(target=_hand_back_and_leave, daemon=True)
    leaving.start()
    leaving.join(SHUTDOWN_STEP)
    os.kill(os.getpid(), signal.SIGQUIT)  # a cold shutdown: ends the running jobs
    never.wait(SHUTDOWN_STEP)
    for child in active_children():  # busy in a library that ignores signals, or waiting for this process
        with suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGKILL)
    never.wait(SHUTDOWN_STEP)
    os._exit(1)


@worker_shutdown.connect
def hand_back(**_: Any) -> None:
    """Return this worker's running jobs to `pending`, without using up a retry."""
    close_lost_connections()
    try:
        ours = Job.objects.active().filter(status=Job.Status.RUNNING, worker_id=worker_id())
        for job in ours.order_by("started_at"):
            give_up(job, f"worker {job.worker_id} was stopped", counts=False)
    except (DatabaseError, InterfaceError) as error:
        logger.warning("could not hand back running jobs; the sweeper will rescue them: %s", error)
    finally:
        connection.close()


@worker_shutdown.connect
def leave(**_: Any) -> None:
    registry.leave(SHUTDOWN_STEP)


def _hand_back_and_leave() -> None:
    hand_back()
    leave()


class JobMessage(Request):
    """A message in the worker's main process, which learns first of a child's death."""

    def on_failure(self, exc_info: Any, *args: Any, **kwargs: Any) -> Any:
        error = getattr(exc_info.exception, "exc", exc_info.exception)
        if isinstance(error, WorkerLostError):
            _report_lost(self.id)
        return super().on_failure(exc_info, *args, **kwargs)

    def on_timeout(self, soft: bool, timeout: float) -> Any:
        if not soft:
            _report_lost(self.id, f"took longer than its time limit, and was killed after {timeout:g} s")
        return super().on_timeout(soft, timeout)


def _report_lost(message_id: str, error: str = "the worker process died") -> None:
    """Give up the jobs that a lost process had claimed with a message: its own job, and others of the cohort."""
    close_lost_connections()
    try:
        claimed = Job.objects.active().filter(status=Job.Status.RUNNING, worker_id=worker_id())
        for job in claimed.filter(claimed_with=UUID(message_id)).order_by("priority", "created_at"):
            # The end of a worker also ends its child processes: the job has not failed.
            give_up(job, error, counts=state.should_stop is None and state.should_terminate is None)
    except (DatabaseError, InterfaceError, ValueError) as trouble:
        logger.warning("job %s lost its process; the sweeper will rescue it: %s", message_id, trouble)
    finally:
        connection.close()
