"""Says for the jobs that run in this process that they are still being worked on."""

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
"""Heartbeats that a job or a worker may miss before it is taken for abandoned or gone."""


class _Pulse:
    """A thread that renews `heartbeat_at`; it costs a job that ends between two beats nothing."""

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
                logger.warning("no heartbeat for %d jobs: %s", len(running), error)
            finally:
                connection.close()


_pulse = _Pulse()


def interval() -> float:
    """Seconds between two heartbeats."""
    return float(settings.JOB_PROCESSOR.worker.heartbeat_interval)


def patience() -> timedelta:
    """How old a heartbeat of what lives can be."""
    return timedelta(seconds=MISSED * interval())


def missed() -> Q:
    """Rows whose heartbeat is too old; or that far in the future, from before the database's clock was set back."""
    return Q(heartbeat_at__lt=Now() - patience()) | Q(heartbeat_at__gt=Now() + patience())


@contextmanager
def beating(job: Job) -> Iterator[None]:
    """Renew the job's heartbeat while the block lasts."""
    _pulse.add(job)
    try:
        yield
    finally:
        _pulse.remove(job)
