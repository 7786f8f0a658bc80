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
from uuid import UUID

from django.conf import settings
from django.db import connection

from tasks import broker

logger = logging.getLogger(__name__)

THREADS = 4
BACKLOG = 12
"""Jobs that wait for a thread; the next ones stay pending until one of these has ended."""
SWEEP_EVERY = 10.0

_run: Callable[[UUID, str], object] | None = None
_sweep: Callable[[], object] | None = None
_lock = threading.Lock()
_room = threading.Semaphore(THREADS + BACKLOG)
_idle = threading.Condition()
_in_hand = 0
_pool: ThreadPoolExecutor | None = None
_keeper: threading.Thread | None = None


def configure(run: Callable[[UUID, str], object] | None, sweep: Callable[[], object] | None) -> None:
    """Hand over what runs a job and what sweeps. None: this process does no direct processing (a Celery worker)."""
    global _run, _sweep
    _run, _sweep = run, sweep


def may_stand_in() -> bool:
    """Whether this process does jobs itself when it has to."""
    return _run is not None


def process(job_ids: Iterable[UUID]) -> set[UUID]:
    """Do jobs in this process, outside of the caller's thread; the ids of those that there is room for."""
    taken = set()
    for job_id in job_ids:
        if not may_stand_in() or not _room.acquire(blocking=False):
            break
        try:
            _submit(job_id)
        except RuntimeError:  # the interpreter is about to exit
            _room.release()
            break
        taken.add(job_id)
    if taken:
        keep()
    return taken


def keep() -> None:
    """Sweep from this process every ten seconds, as long as jobs are processed directly."""
    global _keeper
    with _lock:
        if _keeper is None or not _keeper.is_alive():
            _keeper = threading.Thread(target=_keep, name="direct-keeper", daemon=True)
            _keeper.start()


def wait_until_idle(timeout: float) -> bool:
    """Wait for the jobs in hand, and those that they make room for; whether they ended within `timeout` seconds."""
    with _idle:
        return _idle.wait_for(lambda: _in_hand == 0, timeout)


def worker_id() -> str:
    """Who runs the jobs: this process."""
    return f"direct@{socket.gethostname()}:{os.getpid()}"


def _submit(job_id: UUID) -> None:
    global _pool, _in_hand
    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(THREADS, thread_name_prefix="direct")
        _pool.submit(_work, job_id)
    with _idle:
        _in_hand += 1


def _work(job_id: UUID) -> None:
    global _in_hand
    try:
        if _run is not None:
            _run(job_id, worker_id())
    except Exception as error:  # noqa: BLE001  (it is in the job's row, or the job is rescued)
        logger.info("job %s: %s", job_id, error)
    finally:
        _room.release()
        with suppress(Exception):
            connection.close()
        with _idle:
            _in_hand -= 1
            _idle.notify_all()


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
