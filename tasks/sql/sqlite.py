"""Statements about jobs for SQLite. A change and its events are two statements in one transaction."""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone

from tasks.models import Job, JobEvent
from tasks.sql.base import (
    COLUMNS,
    INSERT_REQUESTS,
    JOBS,
    Details,
    JobSql,
    Row,
    Transition,
    admit_jobs,
    execute,
    facts,
    insert_events,
    insert_jobs,
    job_values,
    mark_saved,
    now,
    placeholders,
    update_jobs,
)

_FIELDS = {field.column: field for field in COLUMNS.values()}


class SqliteJobSql(JobSql):
    def time(self) -> datetime:
        """All processes run on the same machine, and share its clock."""
        return timezone.now()

    def lock(self, name: str) -> None:
        """Nothing to do: a transaction begins IMMEDIATE, and is therefore the only writer."""

    def change_jobs(
        self, transition: Transition, parameters: Sequence[Any], event: JobEvent.Event, details: Sequence[Details]
    ) -> list[Row]:
        place = transition.returned.index("id")
        with transaction.atomic():
            rows = execute(_change(transition), parameters)
            if ids := [row[place] for row in rows]:
                told = [event, now(), json.dumps(details)]
                execute(f"{_insert_events(transition)} {_of(ids)}", [*told, *ids])
        return rows

    def admit_jobs(self, payers: Mapping[UUID, int | None], at: datetime) -> None:
        rows = json.dumps([{"own_id": job_id.hex, "payer": payer} for job_id, payer in payers.items()])
        execute(_ADMIT, [connection.ops.adapt_datetimefield_value(at), rows])

    def insert_jobs(
        self, jobs: Sequence[Job], event: JobEvent.Event, details: Mapping[UUID, Details]
    ) -> Collection[UUID]:
        told = json.dumps({job_id.hex: one for job_id, one in details.items()})
        values = job_values(jobs)
        rows = json.dumps([_prepare(row) for row in values.rows])
        sql = insert_jobs(values, """json_extract("value", '$.{}')""", "json_each(%s) WHERE TRUE")
        place = list(COLUMNS).index("id")
        with transaction.atomic():
            ids = [row[place] for row in execute(sql, [*values.same, rows])]
            execute(f"{_INSERT_FIRST_EVENTS} {_of(ids)}", [event, now(), told, *ids])
            execute(f'{INSERT_REQUESTS} "{JOBS}" {_of(ids)}', ids)
        return mark_saved(jobs, {UUID(job_id) for job_id in ids})


_ADMIT = admit_jobs(
    """(SELECT json_extract("value", '$.own_id') AS "own_id", json_extract("value", '$.payer') AS "payer"
    FROM json_each(%s)) AS "own\"""",
    "TRUE",
)


@lru_cache
def _change(transition: Transition) -> str:
    return update_jobs(transition, f'"id" IN ({placeholders(transition.jobs)})', _own(transition))


def _own(transition: Transition) -> str:
    values = ", ".join(f"""json_extract("value", '$.{name}') AS "{name}\"""" for name in ("own_id", *transition.own))
    return f'(SELECT {values} FROM json_each(%s)) AS "own"'  # noqa: S608


def _prepare(row: Mapping[str, Any]) -> dict[str, Any]:
    return {column: _FIELDS[column].get_db_prep_save(value, connection) for column, value in row.items()}


def _of(ids: Sequence[str]) -> str:
    return f'WHERE "id" IN ({placeholders(len(ids))})'


def _payload(detail: str) -> str:
    return f"json_patch(json_object({facts()}), {detail})"


@lru_cache
def _insert_events(transition: Transition) -> str:
    details = '(SELECT "value" AS "detail", "key" + 1 AS "number" FROM json_each(%s)) AS "told"'
    payload = _payload('"detail"')
    if transition.told:
        values = (f"""'$.{name}', json("{COLUMNS[name].column}")""" for name in transition.told)
        payload = f"json_set({payload}, {', '.join(values)})"
    return insert_events(JOBS, transition.events, payload, details)


_INSERT_FIRST_EVENTS = insert_events(
    JOBS,
    1,
    _payload("""COALESCE(json_extract("all", '$."' || "id" || '"'), '{}')"""),
    '(SELECT %s AS "all", 1 AS "number") AS "told"',
)
