"""Logs a line for each step of a job after its commit.

The logger `tasks.jobs` has the lines about enqueuing and dispatch. The job type in `tasks.job_types` names the logger
for the lines about the work. `stockqueue.logs` assigns loggers to files.
"""

import json
import logging
from collections.abc import Collection, Sequence
from typing import Any

from django.db import transaction
from django.utils import timezone

from tasks import job_types
from tasks.models import Job, JobEvent

Event = JobEvent.Event

FACTS = ("job_type", "symbol", "trigger", "started_at", "outcome")
"""Job fields that the lines need besides the fields of events; transitions return them."""

_queueing = logging.getLogger("tasks.jobs")
_BY_WORKERS = (Event.STARTED, Event.PROGRESS, Event.RETRIED, Event.COMPLETED, Event.FAILED)
_ENDS_OF_AN_ATTEMPT = (Event.RETRIED, Event.COMPLETED, Event.FAILED)
_LEVELS = {Event.PROGRESS: logging.DEBUG, Event.FAILED: logging.WARNING, Event.EXPIRED: logging.WARNING}


def tell(jobs: Collection[Job], event: JobEvent.Event, details: Sequence[dict[str, Any]] = ({},)) -> None:
    """Log that the jobs, in their present state, took a step. No query is made; a rollback logs nothing.

    Each job has a line for each of the `details`; all lines are written at once.
    """
    level = _LEVELS.get(event, logging.INFO)
    if not jobs or not _queueing.isEnabledFor(level):
        return
    lines: dict[logging.Logger, list[str]] = {}
    for job in jobs:
        logger = job_types.find(job.job_type).logger if event in _BY_WORKERS else _queueing
        lines.setdefault(logger, []).extend(_line(job, event, detail) for detail in details)
    transaction.on_commit(lambda: _write(level, lines))


def _write(level: int, lines: dict[logging.Logger, list[str]]) -> None:
    for logger, events in lines.items():
        # Logger.log would search the stack for its caller, which takes a third of its time.
        text = "; ".join(events)
        logger.handle(logger.makeRecord(logger.name, level, __file__, 0, text, (), None, extra={"events": events}))


def _line(job: Job, event: JobEvent.Event, details: dict[str, Any]) -> str:
    line = f"job {job.pk} {event} type={job.job_type}"
    if job.symbol:
        line += f" symbol={job.symbol}"
    line += f" trigger={job.trigger} priority={job.priority} queue={job.queue}"
    if job.attempt:
        line += f" attempt={job.attempt}"
    if event in _BY_WORKERS:
        line += f" worker={job.worker_id}"
    if event in _ENDS_OF_AN_ATTEMPT and job.started_at is not None:
        line += f" seconds={(timezone.now() - job.started_at).total_seconds():.3f}"
    if job.outcome:
        line += f" outcome={job.outcome}"
    if error := details.get("error"):
        line += f" error={json.dumps(error, ensure_ascii=False)}"
    return line
