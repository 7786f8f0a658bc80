"""Statements about jobs for PostgreSQL. A change and its events are one statement, which needs no transaction."""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
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
    insert_jobs,
    job_values,
    mark_saved,
    new_values,
    now,
    placeholders,
    update_jobs,
)


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
        return mark_saved(jobs, inserted)


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
    values = job_values(jobs)
    rows = json.dumps(values.rows, default=str)
    return insert_jobs(values, '"{}"', f'json_populate_recordset(NULL::"{JOBS}", %s)'), [*values.same, rows]
