"""Statements about jobs for PostgreSQL. A change and its events are one statement, which needs no transaction."""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any
from uuid import UUID

from django.db import connection

from tasks.models import Job, JobEvent
from tasks.sql.base import (
    COLUMNS,
    INSERT_REQUESTS,
    JOBS,
    Details,
    JobSql,
    Row,
    Sql,
    Transition,
    admit_jobs,
    execute,
    facts,
    insert_events,
    new_values,
    now,
    placeholders,
    update_jobs,
)

_values = attrgetter(*(field.attname for field in COLUMNS.values()))


class PostgresqlJobSql(JobSql):
    def time(self) -> Sql:
        return Sql("STATEMENT_TIMESTAMP()")

    def lock(self, name: str) -> None:
        execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"stockqueue {name}"])

    def change_jobs(
        self, transition: Transition, parameters: Sequence[Any], event: JobEvent.Event, details: Sequence[Details]
    ) -> list[Row]:
        return execute(_change(transition), [*parameters, event, now(), json.dumps(details)])

    def admit_jobs(self, payers: Mapping[UUID, int | None], at: datetime) -> None:
        rows = json.dumps([{"own_id": str(job_id), "payer": payer} for job_id, payer in payers.items()])
        execute(_ADMIT, [at, rows, list(payers)])

    def insert_jobs(
        self, jobs: Sequence[Job], event: JobEvent.Event, details: Mapping[UUID, Details]
    ) -> Collection[UUID]:
        inserting, parameters = _insert(jobs)
        sql = (
            f"WITH created AS ({inserting}), told AS ({_INSERT_FIRST_EVENTS}), "  # noqa: S608
            f"requested AS ({INSERT_REQUESTS} created) SELECT id FROM created"
        )
        told = json.dumps({str(job_id): one for job_id, one in details.items()})
        inserted = {job_id for (job_id,) in execute(sql, [*parameters, event, told])}
        for job in jobs:  # as bulk_create leaves them
            job._state.adding, job._state.db = False, connection.alias
        return inserted


# Locked in this order: an UPDATE alone could deadlock with an UPDATE that marks the same jobs as queued.
_ADMIT = admit_jobs(
    'jsonb_to_recordset(%s) AS "own" ("own_id" uuid, "payer" integer)',
    f'"id" IN (SELECT "id" FROM "{JOBS}" WHERE "id" = ANY(%s) ORDER BY "id" FOR NO KEY UPDATE)',  # noqa: S608
)


@lru_cache
def _change(transition: Transition) -> str:
    chosen = f'"id" IN ({placeholders(transition.jobs)})'
    if transition.jobs > 1:
        # Everybody locks rows in the same order, so that two changes of the same jobs do not deadlock. The lock does
        # not block inserts of events and requests for the jobs (KEY SHARE).
        chosen = f'"id" IN (SELECT "id" FROM "{JOBS}" WHERE {chosen} ORDER BY "id" FOR NO KEY UPDATE)'  # noqa: S608
    payload = _payload('"detail"')
    if transition.told:
        payload += f" || jsonb_build_object({new_values(transition)})"
    details = (  # usually one event; a function call would make the statement a tenth slower
        '(SELECT %s::jsonb -> 0, 1) AS "told" ("detail", "number")'
        if transition.events == 1
        else 'jsonb_array_elements(%s::jsonb) WITH ORDINALITY AS "told" ("detail", "number")'
    )
    events = insert_events("changed", transition.events, payload, details)
    update = update_jobs(transition, chosen, _own(transition))
    return f"WITH changed AS ({update}), told AS ({events}) SELECT * FROM changed"  # noqa: S608


def _own(transition: Transition) -> str:
    columns = ['"own_id" uuid', *(f'"{name}" {COLUMNS[name].db_type(connection)}' for name in transition.own)]
    return f'jsonb_to_recordset(%s) AS "own" ({", ".join(columns)})'


def _payload(detail: str) -> str:
    return f"jsonb_build_object({facts()}) || {detail}"


# A row may wait for the end of the active job with its key: the time of its event is after this wait.
_INSERT_FIRST_EVENTS = insert_events(
    "created",
    1,
    _payload("""COALESCE("all" -> "id"::text, '{}')"""),
    '(SELECT %s::jsonb, 1) AS "told" ("all", "number")',
    at="CLOCK_TIMESTAMP()",
)


def _insert(jobs: Sequence[Job]) -> tuple[str, list[Any]]:
    """An INSERT of all jobs, and its parameters. A single JSON text contains the differing values of the jobs.

    Django's `bulk_create` quotes each of the thirty values of each job, and made bulk requests take three times as
    long.
    """
    values_of = dict(zip(COLUMNS.values(), zip(*map(_values, jobs), strict=True), strict=True))
    different = [
        field for field, values in values_of.items() if field.primary_key or values.count(values[0]) < len(values)
    ]
    rows = [
        dict(zip((field.column for field in different), row, strict=True))
        for row in zip(*(values_of[field] for field in different), strict=True)
    ]
    columns = ", ".join(f'"{field.column}"' for field in COLUMNS.values())
    chosen = ", ".join(f'"{field.column}"' if field in different else "%s" for field in COLUMNS.values())
    same = [
        field.get_db_prep_save(values[0], connection) for field, values in values_of.items() if field not in different
    ]
    sql = (
        f'INSERT INTO "{JOBS}" ({columns}) SELECT {chosen} '  # noqa: S608
        f'FROM json_populate_recordset(NULL::"{JOBS}", %s) ON CONFLICT DO NOTHING RETURNING *'
    )
    return sql, [*same, json.dumps(rows, default=str)]
