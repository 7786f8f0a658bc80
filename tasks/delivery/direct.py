"""Direct processing: a few threads of this process run jobs without a broker.

`queue.backend: direct` has no broker at all. With a broker, direct processing replaces an unavailable broker for jobs
of waiting users. The handlers are the same, and the claim keeps a worker from running a job twice.
"""

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from uuid import UUID

from django.conf import settings
from django.db import connection

from tasks.delivery import broker
from tasks.models import Job

logger = logging.getLogger(__name__)

THREADS = 4
"""For jobs of waiting users."""
BACKGROUND_THREADS = 2
"""For background jobs, so that they never delay a waiting user."""
BACKLOG = 12
"""Jobs waiting for a thread; further jobs stay pending until a waiting job starts."""
SWEEP_EVERY = 10.0

_run: Callable[[UUID, str], object] | None = None
_sweep: Callable[[], object] | None = None
_keeper: threading.Thread | None = None
_keeper_lock = threading.Lock()
_in_hand = 0
_ended = threading.Condition()


class _Lane:
    """A few threads, started with the first work, and a bounded backlog of waiting work."""

    def __init__(self, name: str, threads: int) -> None:
        self._name, self._threads = name, threads
        self._room = threading.Semaphore(BACKLOG)
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    def take(self, work: Callable[[], object]) -> bool:
        """Do the work when a thread is free. Return False if the backlog is full."""
        global _in_hand
        if not self._room.acquire(blocking=False):
            return False
        with _ended:
            _in_hand += 1
        try:
            with self._lock:
                if self._pool is None:
                    self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix=self._name)
            self._pool.submit(self._work, work)
        except RuntimeError:  # the interpreter is about to exit
            self._room.release()
            _note_end()
            return False
        return True

    def _work(self, work: Callable[[], object]) -> None:
        self._room.release()  # first: the end of this work admits another job, which needs a place in the backlog
        try:
            work()
        finally:
            with suppress(Exception):
                connection.close()
            _note_end()


_foreground, _background = _Lane("direct", THREADS), _Lane("direct-background", BACKGROUND_THREADS)


def configure(run: Callable[[UUID, str], object] | None, sweep: Callable[[], object] | None) -> None:
    """Set the functions for a job and for a sweep. None: no direct processing in this process (a Celery worker)."""
    global _run, _sweep
    _run, _sweep = run, sweep


def may_stand_in() -> bool:
    """Whether direct processing is available in this process."""
    return _run is not None


def process(groups: Iterable[Sequence[Job]]) -> set[UUID]:
    """Run groups of jobs in threads of this process. Return the ids of the jobs that fit into the backlog.

    A thread claims the first job of its group, and further jobs of the cohort.
    """
    taken: set[UUID] = set()
    if not may_stand_in():
        return taken
    for group in groups:
        lane = _foreground if group[0].queue == Job.Queue.FOREGROUND else _background
        if lane.take(partial(_do, group[0].pk)):
            taken.update(job.pk for job in group)
    if taken:
        keep()
    return taken


def process_in_background(work: Callable[[], object]) -> bool:
    """Do work other than jobs in a background thread of this process. Return False if the backlog is full.

    The work has to report its own errors: nobody sees its exceptions.
    """
    return _take(_background, work)


def process_for_user(work: Callable[[], object]) -> bool:
    """Do work other than jobs that a user waits for, in a thread of this process. Otherwise like the background's."""
    return _take(_foreground, work)


def _take(lane: _Lane, work: Callable[[], object]) -> bool:
    taken = may_stand_in() and lane.take(work)
    if taken:
        keep()
    return taken


def keep(**_signal: object) -> None:
    """Sweep in this process every ten seconds, until direct processing ends."""
    global _keeper
    with _keeper_lock:
        if _keeper is None or not _keeper.is_alive():
            _keeper = threading.Thread(target=_keep, name="direct-keeper", daemon=True)
            _keeper.start()


def wait_until_idle(timeout: float) -> bool:
    """Wait for the accepted jobs, and for jobs admitted when they end. Return whether all ended within `timeout` s."""
    with _ended:
        return _ended.wait_for(lambda: _in_hand == 0, timeout)


def worker_id() -> str:
    """The worker id of this process for jobs."""
    return f"direct@{socket.gethostname()}:{os.getpid()}"


def _do(job_id: UUID) -> None:
    try:
        if _run is not None:
            _run(job_id, worker_id())
    except Exception as error:  # noqa: BLE001  (the job's row has the error, or the job is rescued)
        logger.info("job %s: %s", job_id, error)


def _note_end() -> None:
    global _in_hand
    with _ended:
        _in_hand -= 1
        _ended.notify_all()


def _keep() -> None:
    wake = threading.Event()
    while not wake.wait(SWEEP_EVERY):
        try:
            if _sweep is not None:
                _sweep()
        except Exception:
            logger.exception("the sweep failed")
        finally:
            connection.close()
        if settings.JOB_PROCESSOR.queue.backend != "direct" and not broker.breaker.is_open and wait_until_idle(0):
            return
