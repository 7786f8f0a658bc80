"""Announcements about workers: registration, heartbeat, shutdown and loss."""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from django.db.models import Q

from mqtt_bridge.payloads import as_json, unix
from mqtt_bridge.topics import Message, as_level, message
from tasks.celery_worker.registry import workers
from tasks.models import Worker
from tasks.running import heartbeat

if TYPE_CHECKING:
    from tasks.celery_worker.registry import KnownWorker

BREAK = 5.0
"""A pause in seconds between two searches that suggests an outage of the database. The workers may have been unable to
renew their heartbeats, too."""

State, Told = Worker.State, Worker.Told


class Notice(NamedTuple):
    """A message about a worker. `becomes` is written to the worker's row after the acknowledgement; None: nothing."""

    message: Message
    worker: Worker
    becomes: Worker.Told | None


@dataclass
class _Watched:
    heartbeat_at: datetime
    since: float
    """The local time at which this process first saw the heartbeat."""


class WorkerNotices:
    """Finds due notices. The workers' rows record published notices, at least once; heartbeats are kept in memory."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._looked_at = clock()
        self._watched: dict[int, _Watched] = {}

    def due(self) -> list[Notice]:
        """The due notices, in order. A single query, cheap enough for every second."""
        told_of = Q(state=State.ALIVE) | Q(told=Told.REGISTERED)
        found = list(workers().filter(told_of).order_by("started_at", "pk"))
        now = self._clock()
        if now - self._looked_at > BREAK:
            for watched in self._watched.values():
                watched.since = now
        self._looked_at = now
        before, self._watched = self._watched, {}
        notices = []
        for worker in found:
            known = before.get(worker.pk)
            is_new = known is None or known.heartbeat_at != worker.heartbeat_at
            self._watched[worker.pk] = _Watched(worker.heartbeat_at, now) if known is None or is_new else known
            notices += self._notices(worker, is_new=is_new)
        return notices

    def _notices(self, worker: "KnownWorker", *, is_new: bool) -> list[Notice]:
        is_known = worker.told == Told.REGISTERED
        if worker.state == State.STOPPED:
            return [Notice(unregister(worker), worker, Told.UNREGISTERED)]
        if worker.state == State.GONE:
            # Not after a change of the clock or an outage of the database: this process has seen the heartbeat stand
            # still.
            stood_still = self._looked_at - self._watched[worker.pk].since >= heartbeat.interval()
            return [Notice(disconnect(worker), worker, Told.DISCONNECTED)] if stood_still else []
        notices = [] if is_known else [Notice(register(worker), worker, Told.REGISTERED)]
        return [*notices, Notice(alive(worker), worker, None)] if is_new else notices


def mark_told(notices: Collection[Notice]) -> None:
    """Record acknowledged notices. A worker that restarts meanwhile has its own row, and a new announcement."""
    for told in Told:
        pks = [notice.worker.pk for notice in notices if notice.becomes == told]
        if pks:
            Worker.objects.filter(pk__in=pks).update(told=told)


def register(worker: Worker) -> Message:
    """The registration of a worker."""
    payload = {
        "worker_id": worker.worker_id,
        "timestamp": unix(worker.heartbeat_at),
        "name": worker.name,
        "hostname": worker.hostname,
        "pid": worker.pid,
        "queues": worker.queues,
        "concurrency": worker.concurrency,
        "job_types": worker.job_types,
        "capabilities": worker.capabilities,
        "started_at": unix(worker.started_at),
    }
    return message("worker_register", as_json(payload), retain=True)


def unregister(worker: Worker) -> Message:
    """The clean shutdown of a worker."""
    stopped_at = worker.stopped_at or worker.heartbeat_at
    payload = {
        "worker_id": worker.worker_id,
        "timestamp": unix(stopped_at),
        "started_at": unix(worker.started_at),
    }
    return message("worker_unregister", as_json(payload))


def alive(worker: Worker) -> Message:
    """A worker's latest heartbeat. The topic has `_` for forbidden characters; the payload has the unchanged id."""
    payload = {"worker_id": worker.worker_id, "timestamp": unix(worker.heartbeat_at), "status": "alive"}
    return message("worker_heartbeat", as_json(payload), qos=0, worker_id=as_level(worker.worker_id))


def disconnect(worker: Worker) -> Message:
    """The loss of a worker: its heartbeats ran out at `timestamp`."""
    payload = {
        "client_id": worker.worker_id,
        "timestamp": unix(worker.heartbeat_at + heartbeat.patience()),
        "reason": "unexpected",
        "last_heartbeat": unix(worker.heartbeat_at),
        "started_at": unix(worker.started_at),
    }
    return message("worker_disconnect", as_json(payload))
