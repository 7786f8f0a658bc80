"""Transitions of jobs in the database: a change that checks and changes at once, and an event for each changed job."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from typing import Any
from uuid import UUID

from django.db import connection

from tasks.models import Job, JobEvent
from tasks.sql import job_sql
from tasks.sql.base import COLUMNS, FACTS, JOBS, Details, Row, Sql, Transition
from tasks.state import job_log

_NEEDED = {"id", "status", "last_seq", *FACTS, *job_log.FACTS}
_IDLE = {
    *("unique_key", "priority_reason", "dispatched_at", "dispatched_for", "refused_at", "limited_by", "waits_for"),
    *("claimed_with", "retry_of", "run_at", "finished_at", "result", "error"),
}
# In the model's order. Each column of a row takes time on both sides.
WHOLE = tuple(COLUMNS)
BRIEF = tuple(name for name in COLUMNS if name in _NEEDED)
FOR_WORK = tuple(name for name in COLUMNS if name in _NEEDED or name not in _IDLE)
"""The fields of returned jobs: all; those of the events and log lines; those that a worker needs."""


def change(
    job_ids: Collection[UUID],
    statuses: Iterable[Job.Status],
    event: JobEvent.Event,
    details: Sequence[Details] = ({},),
    *,
    only: Iterable[tuple[str, str, Any]] = (),
    fields: tuple[str, ...] = WHOLE,
    leaves_room: bool = False,
    only_alone: bool = False,
    own: Mapping[UUID, Mapping[str, Any]] | None = None,
    told: Sequence[str] = (),
    **changes: Any,
) -> list[Job]:
    """Change the jobs in one of `statuses`, and insert events. Return the changed jobs in their new state.

    Each job gets an event for each of the `details`. `only` has more conditions, such as `("attempt", "=", 2)`.
    `fields` of the jobs are loaded, and the others deferred. `leaves_room`: sets `others_wait` of the jobs (whether
    more jobs wait for admission); a separate query would take longer. `only_alone`: no change while more jobs wait
    for admission. `own`: fields that differ, with the same names for each of the jobs, and values that JSON can
    express. `told`: the changed fields that the events repeat. Changed rows stay locked until the commit, so that
    `seq` has no gaps.
    """
    if not job_ids:
        return []
    states, conditions = list(statuses), list(only)
    transition = Transition(
        jobs=len(job_ids),
        statuses=len(states),
        events=len(details),
        changes=tuple((name, value if isinstance(value, Sql) else None) for name, value in changes.items()),
        own=tuple(next(iter(own.values()))) if own else (),
        told=tuple(told),
        conditions=tuple((name, operator) for name, operator, _ in conditions),
        returned=_both(fields, tuple(told)),
        asks_for_others=leaves_room,
        only_alone=only_alone,
    )
    parameters = [
        *(
            COLUMNS[name].get_db_prep_save(value, connection)
            for name, value in changes.items()
            if not isinstance(value, Sql)
        ),
        *([_as_json(own)] if own else []),
        *(_prepare("id", job_id) for job_id in job_ids),
        *states,
        *(_prepare(name, value) for name, _, value in conditions),
    ]
    jobs = _read(transition.returned, job_sql().change_jobs(transition, parameters, event, details))
    job_log.tell(jobs, event, details)
    return jobs


def insert(jobs: Sequence[Job], event: JobEvent.Event, details: Mapping[UUID, Details]) -> Collection[UUID]:
    """Insert the jobs whose `unique_key` is free, in this order. Return the inserted ids.

    Each job gets an event, with its entry in `details` if any, and the request of its first requester.
    """
    inserted = job_sql().insert_jobs(jobs, event, details)
    job_log.tell([job for job in jobs if job.pk in inserted], event)
    return inserted


def _read(names: tuple[str, ...], rows: Iterable[Row]) -> list[Job]:
    compiler, converters = _reader(connection.vendor, names)
    attributes = [COLUMNS[name].attname for name in names]
    jobs = []
    for *values, others_wait in compiler.apply_converters(rows, converters):
        job = Job.from_db(connection.alias, attributes, values)
        job.others_wait = others_wait is None or bool(others_wait)
        jobs.append(job)
    return jobs


@cache
def _both(fields: tuple[str, ...], told: tuple[str, ...]) -> tuple[str, ...]:
    """In the model's order, as `from_db` expects them."""
    return tuple(name for name in COLUMNS if name in {*fields, *told})


@cache
def _reader(_vendor: str, names: tuple[str, ...]) -> tuple[Any, Any]:
    """The converters from a database row to the values of a job's fields."""
    compiler = Job.objects.all().query.get_compiler(connection=connection)
    return compiler, compiler.get_converters([COLUMNS[name].get_col(JOBS) for name in names])


def _as_json(own: Mapping[UUID, Mapping[str, Any]]) -> str:
    return json.dumps([{"own_id": _prepare("id", job_id), **values} for job_id, values in own.items()], default=str)


def _prepare(name: str, value: Any) -> Any:
    return COLUMNS[name].get_db_prep_value(value, connection)
