"""How a job changes: one UPDATE that looks and changes at once, and one event for each job that it changed.

Written in SQL, because it is done four times for every job: Django 5.2 has no UPDATE … RETURNING, and building these
statements anew takes longer than running them.
"""

import json
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone

from tasks.models import Job, JobEvent

_JOBS, _EVENTS = Job._meta.db_table, JobEvent._meta.db_table
_FIELDS = Job._meta.concrete_fields
_NAMES = [field.attname for field in _FIELDS]
_COLUMNS = {field.name: field for field in _FIELDS}
_ALL_COLUMNS = ", ".join(f'"{field.column}"' for field in _FIELDS)

_FACTS = ("priority", "queue", "attempt", "worker_id")
"""What an event tells of its job besides its `state`, as it was at that moment."""


class Sql(str):
    """A value that the database computes."""

    __slots__ = ()


def database_time() -> Any:
    """The time by the database's clock, which is the same for all machines; heartbeats are judged by it."""
    return Sql("STATEMENT_TIMESTAMP()") if connection.vendor == "postgresql" else timezone.now()


def change(
    job_ids: Collection[UUID],
    statuses: Iterable[Job.Status],
    event: JobEvent.Event,
    details: dict[str, Any] | None = None,
    *,
    only: Iterable[tuple[str, str, Any]] = (),
    **changes: Any,
) -> list[Job]:
    """Change those of the jobs that are in one of `statuses`, and tell it; the changed jobs, as they are now.

    `only` has more conditions, such as `("attempt", "=", 2)`. What is changed stays locked until the commit, so that
    `seq` has no gaps.
    """
    if not job_ids:
        return []
    sets = ['"last_seq" = "last_seq" + 1']
    parameters: list[Any] = []
    for name, value in changes.items():
        sets.append(f'"{_COLUMNS[name].column}" = {value if isinstance(value, Sql) else "%s"}')
        if not isinstance(value, Sql):
            parameters.append(_COLUMNS[name].get_db_prep_save(value, connection))
    chosen = f'"id" IN ({_marks(job_ids)})'
    if len(job_ids) > 1 and connection.features.has_select_for_update:
        # Locked in one order for everybody, so that two that change the same jobs do not deadlock.
        chosen = f'"id" IN (SELECT "id" FROM "{_JOBS}" WHERE {chosen} ORDER BY "id" FOR UPDATE)'  # noqa: S608
    where = [chosen]
    parameters += (_prepare("id", job_id) for job_id in job_ids)
    states = list(statuses)
    where.append(f'"status" IN ({_marks(states)})')
    parameters += states
    for name, operator, value in only:
        where.append(f'"{_COLUMNS[name].column}" {operator} %s')
        parameters.append(_prepare(name, value))
    update = f'UPDATE "{_JOBS}" SET {", ".join(sets)} WHERE {" AND ".join(where)} RETURNING {_ALL_COLUMNS}'  # noqa: S608
    if connection.vendor == "postgresql":
        return _fetch(_AND_TELL.format(update=update), [*parameters, event, json.dumps(details or {}), timezone.now()])
    with transaction.atomic():
        jobs = _fetch(update, parameters)
        record(jobs, event, details or {})
    return jobs


def record(jobs: Collection[Job], event: JobEvent.Event, details: dict[str, Any]) -> None:
    """Write one event for each job, with what is true of it now."""
    if not jobs:
        return
    now = connection.ops.adapt_datetimefield_value(timezone.now())
    rows: list[Any] = []
    for job in jobs:
        payload = {"state": job.status} | {name: getattr(job, name) for name in _FACTS} | details
        rows += (_prepare("id", job.pk), job.last_seq, event, json.dumps(payload), now)
    marks = ", ".join(["(%s, %s, %s, %s, %s, '')"] * len(jobs))
    with connection.cursor() as cursor:
        cursor.execute(f"{_INSERT_EVENTS} VALUES {marks}", rows)


_INSERT_EVENTS = f'INSERT INTO "{_EVENTS}" ("job_id", "seq", "event", "payload", "created_at", "error")'

# PostgreSQL changes and tells in one statement, which needs no transaction around it.
_FACTS_SQL = ", ".join(f"""'{name}', "{name}\"""" for name in _FACTS)
_AND_TELL = f"""
WITH changed AS ({{update}}), told AS (
    {_INSERT_EVENTS}
    SELECT "id", "last_seq", %s, jsonb_build_object('state', "status", {_FACTS_SQL}) || %s::jsonb, %s, '' FROM changed
)
SELECT {_ALL_COLUMNS} FROM changed
"""  # noqa: S608  (names, no values)


def _fetch(sql: str, parameters: Sequence[Any]) -> list[Job]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        rows = cursor.fetchall()
    compiler, converters = _reader(connection.vendor)
    return [Job.from_db(connection.alias, _NAMES, row) for row in compiler.apply_converters(rows, converters)]


@cache
def _reader(_vendor: str) -> tuple[Any, Any]:
    """What turns a row of the database into the values of a job's fields."""
    compiler = Job.objects.all().query.get_compiler(connection=connection)
    return compiler, compiler.get_converters([field.get_col(_JOBS) for field in _FIELDS])


def _prepare(name: str, value: Any) -> Any:
    return _COLUMNS[name].get_db_prep_value(value, connection)


def _marks(values: Collection[Any]) -> str:
    return ", ".join(["%s"] * len(values))
