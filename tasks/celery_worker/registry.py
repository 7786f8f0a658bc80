"""The worker registry: each Celery worker renews its own row, whether or not it has work."""

import logging
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from django.db import DatabaseError, InterfaceError, connection, transaction
from django.db.models import Case, CharField, QuerySet, Value, When
from django.db.models.functions import Now

from tasks.models import Worker
from tasks.running import heartbeat

if TYPE_CHECKING:
    from typing import TypedDict

    from django_stubs_ext import WithAnnotations

    class _State(TypedDict):
        state: str

    KnownWorker = WithAnnotations[Worker, _State]

logger = logging.getLogger(__name__)

RETRY_PAUSE = 1.0
"""Seconds between two attempts during a database outage."""


def workers() -> "QuerySet[KnownWorker]":
    """All registered workers, each annotated with its `state` by the database's clock.

    `stopped`: shut down cleanly; `gone`: missed its heartbeats without a clean shutdown.
    """
    state = Case(
        When(stopped_at__isnull=False, then=Value(Worker.State.STOPPED)),
        When(heartbeat.missed(), then=Value(Worker.State.GONE)),
        default=Value(Worker.State.ALIVE),
        output_field=CharField(),
    )
    return Worker.objects.annotate(state=state)


def missing(known: "Iterable[KnownWorker]") -> "list[KnownWorker]":
    """The gone workers without a later worker of the same name. `known` are all workers."""
    known = list(known)
    gone = [worker for worker in known if worker.state == Worker.State.GONE]
    return [worker for worker in gone if not any(map(worker.was_replaced_by, known))]


class _Presence:
    """A thread that writes a worker's row, and survives database outages."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._is_known = False
        self._complained = False
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._stay, name="presence", daemon=True)
        self._thread.start()

    def leave(self, timeout: float) -> None:
        """Record the clean shutdown of the worker; wait for this up to `timeout` seconds."""
        self._leaving.set()
        self._thread.join(timeout)

    def _stay(self) -> None:
        pause = 0.0
        while not self._leaving.wait(pause):
            pause = heartbeat.interval()
            if not self._write(self._renew):
                pause = min(pause, RETRY_PAUSE)
        self._write(self._stop)

    def _write(self, change: Callable[[], object]) -> bool:
        """Return whether the change succeeded. An outage is logged once."""
        try:
            change()
        except (DatabaseError, InterfaceError) as error:
            if not self._complained:
                reason = str(error).partition("\n")[0]
                logger.warning("worker %s cannot renew its heartbeat: %s", self._worker, reason)
            self._complained = True
        else:
            self._complained = False
        finally:
            connection.close()
        return not self._complained

    def _renew(self) -> None:
        if not self._is_known or not self._ours().update(heartbeat_at=Now()):
            self._register()
            self._is_known = True

    def _register(self) -> None:
        """Insert a new row for each run, so that nobody takes the worker for an earlier worker with the same id."""
        self._worker.pk = None
        self._worker.started_at = self._worker.heartbeat_at = Now()
        with transaction.atomic():
            Worker.objects.filter(worker_id=self._worker.worker_id).delete()
            self._worker.save(force_insert=True)

    def _stop(self) -> None:
        self._ours().update(heartbeat_at=Now(), stopped_at=Now())

    def _ours(self) -> QuerySet[Worker]:
        return Worker.objects.filter(worker_id=self._worker.worker_id, stopped_at=None)


_presence: _Presence | None = None


def enter(worker: Worker) -> None:
    """Register `worker` as this process, and renew its heartbeat every `heartbeat.interval()` from now on."""
    global _presence
    _presence = _Presence(worker)


def leave(timeout: float) -> None:
    """Record the clean shutdown of this process's worker, if any; takes `timeout` seconds at most."""
    if _presence is not None:
        _presence.leave(timeout)
