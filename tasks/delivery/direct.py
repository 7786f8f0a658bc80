"""Direct processing: jobs run in this process, in a few threads, where no broker takes them.

`queue.backend: direct` has no broker at all; otherwise this stands in for a broker that is away, for jobs that a user
waits for. The same code does the job, and the same claim keeps a worker from doing it too.
"""

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterable
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
"""For jobs that a user waits for."""
BACKGROUND_THREADS = 2
"""For the others, so that they are never in the way."""
BACKLOG = 12
"""Jobs that wait for a thread; the next ones stay pending until one of these has begun."""
SWEEP_EVERY = 10.0

_run: Callable[[UUID, str], object] | None = None
_sweep: Callable[[], object] | None = None
_keeper: threading.Thread | None = None
_keeper_lock = threading.Lock()
_in_hand = 0
_ended = threading.Condition()


class _Lane:
    """A few threads, which start with the first work, and room for work that waits for one of them."""

    def __init__(self, name: str, threads: int) -> None:
        self._name, self._threads = name, threads
        self._room = threading.Semaphore(BACKLOG)
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    def take(self, work: Callable[[], object]) -> bool:
        """Do the work when a thread is free; whether there is room for it."""
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
        self._room.release()  # before the end of this makes room for the next, which comes here too
        try:
            work()
        finally:
            with suppress(Exception):
                connection.close()
            _note_end()


_foreground, _background = _Lane("direct", THREADS), _Lane("direct-background", BACKGROUND_THREADS)


def configure(run: Callable[[UUID, str], object] | None, sweep: Callable[[], object] | None) -> None:
    """Hand over what runs a job and what sweeps. None: this process does no direct processing (a Celery worker)."""
    global _run, _sweep
    _run, _sweep = run, sweep


def may_stand_in() -> bool:
    """Whether this process does jobs itself when it has to."""
    return _run is not None


def process(jobs: Iterable[Job]) -> set[UUID]:
    """Do jobs in this process, outside of the caller's thread; the ids of those that there is room for."""
    taken: set[UUID] = set()
    if not may_stand_in():
        return taken
    for job in jobs:
        lane = _foreground if job.queue == Job.Queue.FOREGROUND else _background
        if lane.take(partial(_do, job.pk)):
            taken.add(job.pk)
    if taken:
        keep()
    return taken


def process_in_background(work: Callable[[], object]) -> bool:
    """Do other work than a job in this process, as what nobody waits for; whether there is room for it.

    It says itself what became of it: nobody hears of its errors.
    """
    taken = may_stand_in() and _background.take(work)
    if taken:
        keep()
    return taken


def keep(**_signal: object) -> None:
    """Sweep from this process every ten seconds, as long as jobs are processed directly."""
    global _keeper
    with _keeper_lock:
        if _keeper is None or not _keeper.is_alive():
            _keeper = threading.Thread(target=_keep, name="direct-keeper", daemon=True)
            _keeper.start()


def wait_until_idle(timeout: float) -> bool:
    """Wait for the jobs in hand, and those that they make room for; whether they ended within `timeout` seconds."""
    with _ended:
        return _ended.wait_for(lambda: _in_hand == 0, timeout)


def worker_id() -> str:
    """Who runs the jobs: this process."""
    return f"direct@{socket.gethostname()}:{os.getpid()}"


def _do(job_id: UUID) -> None:
    try:
        if _run is not None:
            _run(job_id, worker_id())
    except Exception as error:  # noqa: BLE001  (it is in the job's row, or the job is rescued)
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
