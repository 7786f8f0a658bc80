"""Renews the heartbeats of running jobs in this process."""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from django.db.models import Q
from django.db.models.functions import Now

from tasks.models import Job

logger = logging.getLogger(__name__)

MISSED = 3
"""Missed heartbeats after which a job counts as abandoned, and a worker as gone."""


class _Pulse:
    """A thread that renews `heartbeat_at`. A job that ends between two heartbeats causes no query."""

    def __init__(self) -> None:
        self._running: dict[tuple[object, int], None] = {}
        self._process = 0
        self._lock = threading.Lock()

    def add(self, job: Job) -> None:
        with self._lock:
            self._running[job.pk, job.attempt] = None
            if self._process != os.getpid():  # threads do not survive a fork
                self._process = os.getpid()
                threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()

    def remove(self, job: Job) -> None:
        with self._lock:
            self._running.pop((job.pk, job.attempt), None)

    def _beat(self) -> None:
        never = threading.Event()
        while not never.wait(interval()):
            with self._lock:
                running = list(self._running)
            if not running:
                continue
            claims = Q()
            for job_id, attempt in running:
                claims |= Q(pk=job_id, attempt=attempt)
            try:
                Job.objects.filter(claims, status=Job.Status.RUNNING).update(heartbeat_at=Now())
            except (DatabaseError, InterfaceError) as error:
                logger.warning("could not renew the heartbeats of %d jobs: %s", len(running), error)
            finally:
                connection.close()


_pulse = _Pulse()


def interval() -> float:
    """Seconds between two heartbeats."""
    return float(settings.JOB_PROCESSOR.worker.heartbeat_interval)


def patience() -> timedelta:
    """The highest age of the heartbeat of a living job or worker."""
    return timedelta(seconds=MISSED * interval())


def missed() -> Q:
    """Rows with an outdated heartbeat, or with a future heartbeat from before the database's clock was set back."""
    return Q(heartbeat_at__lt=Now() - patience()) | Q(heartbeat_at__gt=Now() + patience())


@contextmanager
def beating(job: Job) -> Iterator[None]:
    """Renew the job's heartbeat during the block."""
    _pulse.add(job)
    try:
        yield
    finally:
        _pulse.remove(job)
