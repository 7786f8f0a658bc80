"""What is told about workers: that they came, live, went, or were lost."""

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
"""Seconds between two looks in which workers may have been unable to renew their heartbeats: the database was away."""

State, Told = Worker.State, Worker.Told


class Notice(NamedTuple):
    """A message about a worker. `becomes` is what is noted in its row once the broker has it; None: nothing."""

    message: Message
    worker: Worker
    becomes: Worker.Told | None


@dataclass
class _Watched:
    heartbeat_at: datetime
    since: float
    """When that was first seen, by this process's own clock."""


class WorkerNotices:
    """Finds out what is to be told. What was told is in the workers' rows, at least once; heartbeats are in memory."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._looked_at = clock()
        self._watched: dict[int, _Watched] = {}

    def due(self) -> list[Notice]:
        """What there is to tell now, in order. One query, which may be made every second."""
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
            # Not because the clock was set, or the database was away: its heartbeat has stood still before our eyes.
            stood_still = self._looked_at - self._watched[worker.pk].since >= heartbeat.interval()
            return [Notice(disconnect(worker), worker, Told.DISCONNECTED)] if stood_still else []
        notices = [] if is_known else [Notice(register(worker), worker, Told.REGISTERED)]
        return [*notices, Notice(alive(worker), worker, None)] if is_new else notices


def mark_told(notices: Collection[Notice]) -> None:
    """Note what the broker has. A worker that comes anew meanwhile has a row of its own, and is told of anew."""
    for told in Told:
        pks = [notice.worker.pk for notice in notices if notice.becomes == told]
        if pks:
            Worker.objects.filter(pk__in=pks).update(told=told)


def register(worker: Worker) -> Message:
    """It is there."""
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
    """It ended in good order."""
    stopped_at = worker.stopped_at or worker.heartbeat_at
    payload = {
        "worker_id": worker.worker_id,
        "timestamp": unix(stopped_at),
        "started_at": unix(worker.started_at),
    }
    return message("worker_unregister", as_json(payload))


def alive(worker: Worker) -> Message:
    """Its latest heartbeat. What cannot be a level of a topic is `_` there; the payload has the id as it is."""
    payload = {"worker_id": worker.worker_id, "timestamp": unix(worker.heartbeat_at), "status": "alive"}
    return message("worker_heartbeat", as_json(payload), qos=0, worker_id=as_level(worker.worker_id))


def disconnect(worker: Worker) -> Message:
    """Its heartbeats ran out, at `timestamp`."""
    payload = {
        "client_id": worker.worker_id,
        "timestamp": unix(worker.heartbeat_at + heartbeat.patience()),
        "reason": "unexpected",
        "last_heartbeat": unix(worker.heartbeat_at),
        "started_at": unix(worker.started_at),
    }
    return message("worker_disconnect", as_json(payload))
