"""Requests of the work in `tests.support.works`, and what a test does with it: wait for it, let it go on.

Each start of a job leaves a file in the folder that its parameters name, so that a test can wait for it.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded

from market.models import Stock
from operations.local.child_processes import wait_until
from tasks.enqueue import EnqueueResult, JobSpec, enqueue
from tasks.models import Job

LONGEST = 120.0
"""Seconds that work waits for its test."""


class Gate:
    """A folder that work and its test meet in: work says that it has started, the test lets it go on."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)

    def request(self, *symbols: str, **options: bool) -> list[Job]:
        """Ask for a job that waits here for each symbol. Its effect, when it is done: `effect_of`.

        With `stubborn=True` it does not end at its soft time limit.
        """
        return _request(Job.Type.STOCK_ANALYSIS, symbols, gate=str(self._folder), **options).created

    def wait_for(self, job: Job, attempt: int, timeout: float = 60.0) -> int:
        """Wait for the start of a job's attempt; the pid of the process that it runs in."""
        file = self._folder / f"started-{job.pk}-{attempt}"
        wait_until(file.exists, f"attempt {attempt} at {job}", timeout=timeout)
        return int(file.read_text())

    def open(self, attempt: int) -> None:
        """Let all attempts with this number go on."""
        (self._folder / f"open-{attempt}").touch()

    def pass_through(self, job: Job) -> None:
        """Called by the work."""
        started = self._folder / f"started-{job.pk}-{job.attempt}"
        started.with_suffix(".new").write_text(str(os.getpid()))
        started.with_suffix(".new").rename(started)
        is_open = (self._folder / f"open-{job.attempt}").exists
        with suppress(*[SoftTimeLimitExceeded] if job.parameters.get("stubborn") else []):
            wait_until(is_open, "the gate", timeout=LONGEST)
        wait_until(is_open, "the gate", timeout=LONGEST)


def request_deadly(symbol: str) -> Job:
    """Ask for a job that kills the process that it runs in, at each attempt."""
    return _request(Job.Type.STOCK_RESEARCH, [symbol]).created[0]


def effect_of(job: Job) -> str:
    """The attempts at a waiting job that wrote an effect, such as "2"; the second of two effects would be added."""
    return Stock.objects.get(symbol=job.symbol).name


def _request(job_type: Job.Type, symbols: Any, **parameters: Any) -> EnqueueResult:
    for symbol in symbols:
        Stock.objects.get_or_create(symbol=symbol)
    return enqueue(
        [JobSpec(job_type, f"{job_type}:{symbol}", symbol, parameters) for symbol in symbols], Job.Trigger.USER_REQUEST
    )
