"""Whether the servers behind a web server answer, within a second."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from functools import cache

from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from stockqueue.database import impatient_connection
from tasks.delivery import broker, direct
from tasks.models import Job

logger = logging.getLogger(__name__)

CHECK_TIMEOUT = 1.0
"""Seconds."""

OK, DEGRADED, UNAVAILABLE = "ok", "degraded", "unavailable"
SILENT = "does not answer"
NOT_MIGRATED = "is not migrated"
NOT_NEEDED = "direct processing"
STOOD_IN_FOR = "does not answer; this process runs the jobs of waiting users"


class _Check:
    """A check of a server that may hang: in a separate thread, and never two at once, for any number of callers.

    While the server hangs, all callers get SILENT.
    """

    def __init__(self, look: Callable[[], str]) -> None:
        self._look = look
        self._lock = threading.Lock()
        self._answer: Future[str] | None = None

    def begin(self) -> "Future[str]":
        with self._lock:
            if self._answer is None or self._answer.done():
                self._answer = Future()
                threading.Thread(target=self._run, args=[self._answer], name="health", daemon=True).start()
            return self._answer

    def _run(self, answer: "Future[str]") -> None:
        try:
            answer.set_result(self._look())
        except Exception as error:  # noqa: BLE001  (any error makes the server useless)
            logger.warning("health: %s", str(error).partition("\n")[0] or type(error).__name__)
            answer.set_result(SILENT)


@dataclass(frozen=True)
class Readiness:
    """`ok`; `degraded`, with users served without the broker; or `unavailable`. `checks` are words by server."""

    status: str
    checks: dict[str, str]


def readiness() -> Readiness:
    """The state of the servers, within a second."""
    deadline = time.monotonic() + CHECK_TIMEOUT
    answers = {name: check.begin() for name, check in (("database", _database), ("broker", _broker))}
    checks = {name: _answer_of(answer, deadline) for name, answer in answers.items()}
    status = OK
    if checks["broker"] == SILENT and direct.may_stand_in():
        checks["broker"], status = STOOD_IN_FOR, DEGRADED
    if checks["database"] != OK or checks["broker"] == SILENT:
        status = UNAVAILABLE
    return Readiness(status, checks)


def database() -> str:
    """`OK`, or the problem of the database, as the end of a sentence."""
    return _answer_of(_database.begin(), time.monotonic() + CHECK_TIMEOUT)


def _answer_of(answer: "Future[str]", deadline: float) -> str:
    try:
        return answer.result(max(0.0, deadline - time.monotonic()))
    except TimeoutError:
        return SILENT


def _look_at_database() -> str:
    with closing(impatient_connection()) as ours:
        applied = set(_applied_migrations(ours))
    return OK if _newest_migrations() <= applied else NOT_MIGRATED


def _applied_migrations(ours: BaseDatabaseWrapper) -> list[tuple[str, str]]:
    """Read the migrations directly: the recorder would use the thread's patient connection, and leave it open."""
    if not MigrationRecorder(ours).has_table():
        return []
    with ours.cursor() as cursor:
        cursor.execute(f'SELECT "app", "name" FROM "{MigrationRecorder.Migration._meta.db_table}"')  # noqa: S608
        return list(cursor.fetchall())


def _look_at_broker() -> str:
    if settings.JOB_PROCESSOR.queue.backend == "direct":
        return NOT_NEEDED
    broker.depth(Job.Queue.FOREGROUND)
    return OK


_database, _broker = _Check(_look_at_database), _Check(_look_at_broker)


@cache
def _newest_migrations() -> frozenset[tuple[str, str]]:
    """The last migrations of each app in the running version."""
    return frozenset(MigrationLoader(None, ignore_no_migrations=True).graph.leaf_nodes())
