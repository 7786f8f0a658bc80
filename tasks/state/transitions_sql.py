"""The SQL of transitions: an UPDATE that checks and changes at once, and an event for each changed job.

Handwritten, because each job has four transitions: Django 5.2 has no UPDATE … RETURNING, and building these statements
with the ORM takes longer than running them.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache, lru_cache
from operator import attrgetter
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone

from tasks.models import Job, JobEvent, JobRequest
from tasks.state import job_log

_JOBS, _EVENTS = Job._meta.db_table, JobEvent._meta.db_table
_COLUMNS = {field.name: field for field in Job._meta.concrete_fields}
_values = attrgetter(*(field.attname for field in _COLUMNS.values()))

_OTHERS_WAIT = f"""EXISTS (
    SELECT 1 FROM "{_JOBS}" AS "waiting"
    WHERE "waiting"."queue" = "{_JOBS}"."queue" AND "waiting"."status" = 'pending'
    AND "waiting"."dispatched_at" IS NULL AND "waiting"."finished_at" IS NULL
)"""  # noqa: S608  (a name, no value)

_REQUEST = (
    f'INSERT INTO "{JobRequest._meta.db_table}" ("job_id", "user_id", "trigger", "created_at") '
    'SELECT "id", "user_id", "trigger", "created_at" FROM'
)

_FACTS = ("priority", "queue", "attempt", "worker_id")
"""The facts about a job in each event besides its `state`, as of the event."""

_WHOLE = tuple(_COLUMNS)
_NEEDED = {"id", "status", "last_seq", *_FACTS, *job_log.FACTS}
_BRIEF = tuple(name for name in _COLUMNS if name in _NEEDED)  # in the model's order


class Sql(str):
    """A value computed by the database."""

    __slots__ = ()


def database_time() -> Any:
    """The time of the database's clock, which all machines share; it determines the age of heartbeats."""
    return Sql("STATEMENT_TIMESTAMP()") if connection.vendor == "postgresql" else timezone.now()


def change(
    job_ids: Collection[UUID],
    statuses: Iterable[Job.Status],
    event: JobEvent.Event,
    details: Sequence[dict[str, Any]] = ({},),
    *,
    only: Iterable[tuple[str, str, Any]] = (),
    brief: bool = False,
    leaves_room: bool = False,
    only_alone: bool = False,
    **changes: Any,
) -> list[Job]:
    """Change the jobs in one of `statuses`, and insert events. Return the changed jobs in their new state.

    Each job gets an event for each of the `details`. `only` has more conditions, such as `("attempt", "=", 2)`.
    `brief`: most fields of the jobs are deferred. `leaves_room`: sets `others_wait` of the jobs (whether more jobs
    wait for admission); a separate query would take longer. `only_alone`: no change while more jobs wait for
    admission. Changed rows stay locked until the commit, so that `seq` has no gaps.
    """
    if not job_ids:
        return []
    states, conditions = list(statuses), list(only)
    computed = tuple((name, value if isinstance(value, Sql) else None) for name, value in changes.items())
    compared = tuple((name, operator) for name, operator, _ in conditions)
    returned = _BRIEF if brief else _WHOLE
    sql = _statement(
        *(connection.vendor, len(job_ids), len(states), len(details)),
        *(computed, compared, returned, leaves_room, only_alone),
    )
    parameters = [
        *(
            _COLUMNS[name].get_db_prep_save(value, connection)
            for name, value in changes.items()
            if not isinstance(value, Sql)
        ),
        *(_prepare("id", job_id) for job_id in job_ids),
        *states,
        *(_prepare(name, value) for name, _, value in conditions),
    ]
    if connection.vendor == "postgresql":  # one statement for the change and its events needs no transaction
        jobs = _fetch(returned, sql, [*parameters, *_telling(event, details)])
    else:
        with transaction.atomic():
            jobs = _fetch(returned, sql, parameters)
            record([job.pk for job in jobs], event, details)
    job_log.tell(jobs, event, details, changes.get("outcome", ""))
    return jobs


@lru_cache
def _statement(
    vendor: str,
    jobs: int,
    statuses: int,
    events: int,
    changes: tuple[tuple[str, Sql | None], ...],
    conditions: tuple[tuple[str, str], ...],
    returned: tuple[str, ...],
    leaves_room: bool,
    only_alone: bool,
) -> str:
    """The SQL of a transition: the columns to set (None: a parameter), the number of jobs, and the conditions."""
    sets = [f'"last_seq" = "last_seq" + {events}']
    sets += (f'"{_COLUMNS[name].column}" = {"%s" if value is None else value}' for name, value in changes)
    chosen = f'"id" IN ({_marks(jobs)})'
    if jobs > 1 and vendor == "postgresql":
        # Everybody locks rows in the same order, so that two changes of the same jobs do not deadlock. The lock does
        # not block inserts of events and requests for the jobs (KEY SHARE).
        chosen = f'"id" IN (SELECT "id" FROM "{_JOBS}" WHERE {chosen} ORDER BY "id" FOR NO KEY UPDATE)'  # noqa: S608
    where = [chosen, f'"status" IN ({_marks(statuses)})']
    where += (f'"{_COLUMNS[name].column}" {operator} %s' for name, operator in conditions)
    if only_alone:
        where.append(f"NOT {_OTHERS_WAIT}")
    columns = ", ".join(f'"{_JOBS}"."{_COLUMNS[name].column}"' for name in returned)
    others_wait = _OTHERS_WAIT if leaves_room else "NULL"
    update = (
        f'UPDATE "{_JOBS}" SET {", ".join(sets)} WHERE {" AND ".join(where)} '  # noqa: S608
        f'RETURNING {columns}, {others_wait} AS "others_wait"'
    )
    if vendor != "postgresql":
        return update
    return f"WITH changed AS ({update}), told AS ({_tell('changed', events)}) SELECT * FROM changed"  # noqa: S608


def insert(jobs: Sequence[Job], event: JobEvent.Event, details: Mapping[UUID, dict[str, Any]]) -> set[UUID]:
    """Insert the jobs whose `unique_key` is free, in this order. Return the inserted ids.

    Each job gets an event, with its entry in `details` if any, and the request of its first requester.
    """
    told_of = json.dumps({str(_prepare("id", job_id)): one for job_id, one in details.items()})
    if connection.vendor == "postgresql":
        sql, parameters = _insertion(jobs)
        # A row may wait for the end of the active job with its key: the time of its event is after this wait.
        told, requested = _tell_of_each("created", at="CLOCK_TIMESTAMP()"), f"{_REQUEST} created"
        with connection.cursor() as cursor:
            cursor.execute(
                f"WITH created AS ({sql}), told AS ({told}), requested AS ({requested}) SELECT id FROM created",  # noqa: S608
                [*parameters, event, told_of],
            )
            inserted = {job_id for (job_id,) in cursor.fetchall()}
        for job in jobs:  # as bulk_create leaves them
            job._state.adding, job._state.db = False, connection.alias
    else:
        with transaction.atomic():
            Job.objects.bulk_create(jobs, ignore_conflicts=True)
            inserted = set(Job.objects.filter(pk__in=[job.pk for job in jobs]).values_list("pk", flat=True))
            ids = [_prepare("id", job_id) for job_id in inserted]
            chosen = f'WHERE "id" IN ({_marks(len(ids))})'
            with connection.cursor() as cursor:
                cursor.execute(f"{_tell_of_each(_JOBS, at='%s')} {chosen}", [event, _now(), told_of, *ids])
                cursor.execute(f'{_REQUEST} "{_JOBS}" {chosen}', ids)
    job_log.tell([job for job in jobs if job.pk in inserted], event)
    return inserted


def _insertion(jobs: Sequence[Job]) -> tuple[str, list[Any]]:
    """An INSERT of all jobs for PostgreSQL. A single JSON text contains the differing values of the jobs.

    Django's `bulk_create` quotes each of the thirty values of each job, and made bulk requests take three times as
    long.
    """
    values_of = dict(zip(_COLUMNS.values(), zip(*map(_values, jobs), strict=True), strict=True))
    different = [
        field for field, values in values_of.items() if field.primary_key or values.count(values[0]) < len(values)
    ]
    rows = [
        dict(zip((field.column for field in different), row, strict=True))
        for row in zip(*(values_of[field] for field in different), strict=True)
    ]
    columns = ", ".join(f'"{field.column}"' for field in _COLUMNS.values())
    chosen = ", ".join(f'"{field.column}"' if field in different else "%s" for field in _COLUMNS.values())
    same = [
        field.get_db_prep_save(values[0], connection) for field, values in values_of.items() if field not in different
    ]
    sql = (
        f'INSERT INTO "{_JOBS}" ({columns}) SELECT {chosen} '  # noqa: S608
        f'FROM json_populate_recordset(NULL::"{_JOBS}", %s) ON CONFLICT DO NOTHING RETURNING *'
    )
    return sql, [*same, json.dumps(rows, default=str)]


def record(job_ids: Collection[UUID], event: JobEvent.Event, details: Sequence[dict[str, Any]]) -> None:
    """Insert an event for each job and each of the details, with the job's present facts."""
    if job_ids:
        ids = [_prepare("id", job_id) for job_id in job_ids]
        tell = f'{_tell(_JOBS, len(details))} WHERE "id" IN ({_marks(len(ids))})'
        with connection.cursor() as cursor:
            cursor.execute(tell, [*_telling(event, details), *ids])


def _tell(jobs: str, events: int) -> str:
    """An INSERT of `events` events, one for each of the details, for each row of `jobs`, which has a job's columns."""
    if connection.vendor == "sqlite":
        details = '(SELECT "value" AS "detail", "key" + 1 AS "number" FROM json_each(%s)) AS "told"'
    else:
        details = (  # usually one event; a function call would make the statement a tenth slower
            '(SELECT %s::jsonb -> 0, 1) AS "told" ("detail", "number")'
            if events == 1
            else 'jsonb_array_elements(%s::jsonb) WITH ORDINALITY AS "told" ("detail", "number")'
        )
    return _insert_events(jobs, events, '"detail"', details, at="%s")


def _tell_of_each(jobs: str, at: str) -> str:
    """Like `_tell` for a single event. The parameter is an object with the details by the job's id."""
    if connection.vendor == "sqlite":
        detail = """COALESCE(json_extract("all", '$."' || "id" || '"'), '{}')"""
        details = '(SELECT %s AS "all", 1 AS "number") AS "told"'
    else:
        detail = """COALESCE("all" -> "id"::text, '{}')"""
        details = '(SELECT %s::jsonb, 1) AS "told" ("all", "number")'
    return _insert_events(jobs, 1, detail, details, at=at)


def _insert_events(jobs: str, events: int, detail: str, details: str, *, at: str) -> str:
    facts = ", ".join(f"""'{name}', "{name}\"""" for name in _FACTS)
    if connection.vendor == "sqlite":
        payload = f"""json_patch(json_object('state', "status", {facts}), {detail})"""
    else:
        payload = f"""jsonb_build_object('state', "status", {facts}) || {detail}"""
    return (
        f'INSERT INTO "{_EVENTS}" ("job_id", "seq", "event", "payload", "created_at", "error") '  # noqa: S608
        f"""SELECT "id", "last_seq" - {events} + "number", %s, {payload}, {at}, '' FROM "{jobs}", {details}"""
    )


def _telling(event: JobEvent.Event, details: Sequence[dict[str, Any]]) -> list[Any]:
    """The parameters of `_tell`."""
    return [event, _now(), json.dumps(details)]


def _now() -> Any:
    return connection.ops.adapt_datetimefield_value(timezone.now())


def _fetch(names: tuple[str, ...], sql: str, parameters: Sequence[Any]) -> list[Job]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        rows = cursor.fetchall()
    compiler, converters = _reader(connection.vendor, names)
    attributes = [_COLUMNS[name].attname for name in names]
    jobs = []
    for *values, others_wait in compiler.apply_converters(rows, converters):
        job = Job.from_db(connection.alias, attributes, values)
        job.others_wait = others_wait is None or bool(others_wait)
        jobs.append(job)
    return jobs


@cache
def _reader(_vendor: str, names: tuple[str, ...]) -> tuple[Any, Any]:
    """The converters from a database row to the values of a job's fields."""
    compiler = Job.objects.all().query.get_compiler(connection=connection)
    return compiler, compiler.get_converters([_COLUMNS[name].get_col(_JOBS) for name in names])


def _prepare(name: str, value: Any) -> Any:
    return _COLUMNS[name].get_db_prep_value(value, connection)


def _marks(count: int) -> str:
    return ", ".join(["%s"] * count)
