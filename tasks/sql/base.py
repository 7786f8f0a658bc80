"""The statements about jobs that each kind of database implements, and the parts that both share.

Handwritten, because each job has four transitions: Django 5.2 has no UPDATE … RETURNING, and building these statements
with the ORM takes longer than running them.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any
from uuid import UUID

from django.db import connection
from django.utils import timezone

from tasks.models import Job, JobEvent, JobRequest

JOBS, EVENTS, REQUESTS = (model._meta.db_table for model in (Job, JobEvent, JobRequest))
COLUMNS = {field.name: field for field in Job._meta.concrete_fields}

_values = attrgetter(*(field.attname for field in COLUMNS.values()))

FACTS = ("priority", "queue", "attempt", "worker_id")
"""The facts about a job in each event besides its `state`, as of the event."""

INSERT_REQUESTS = (
    f'INSERT INTO "{REQUESTS}" ("job_id", "user_id", "trigger", "created_at") '
    'SELECT "id", "user_id", "trigger", "created_at" FROM'
)

_OTHERS_WAIT = f"""EXISTS (
    SELECT 1 FROM "{JOBS}" AS "waiting"
    WHERE "waiting"."queue" = "{JOBS}"."queue" AND "waiting"."status" = 'pending'
    AND "waiting"."dispatched_at" IS NULL AND "waiting"."finished_at" IS NULL
)"""  # noqa: S608  (a name, no value)

Row = tuple[Any, ...]
Details = dict[str, Any]


class Sql(str):
    """A value computed by the database."""

    __slots__ = ()


@dataclass(frozen=True)
class Transition:
    """The form of an UPDATE that checks and changes jobs at once, without the values of its parameters.

    Its parameters, in order: values of `changes`, the JSON of `own` (if any), ids, statuses, values of `conditions`.
    """

    jobs: int
    """The number of ids."""
    statuses: int
    events: int
    """The number of events for each changed job."""
    told: tuple[str, ...]
    """The fields whose new values are in the events."""
    changes: tuple[tuple[str, Sql | None], ...]
    """The fields to set, each with its SQL, or with None for a parameter."""
    own: tuple[str, ...]
    """The fields to set to a value of each job's own. The JSON has a list of objects, each with an id and values."""
    conditions: tuple[tuple[str, str], ...]
    """Fields with the operators that compare them with a parameter."""
    returned: tuple[str, ...]
    """The fields of each returned row. A last column follows: whether other jobs wait for admission in the queue."""
    asks_for_others: bool
    """Whether the last column is computed; else it is NULL."""
    only_alone: bool
    """No change while other jobs wait for admission in the queue."""


class JobSql(ABC):
    """Statements about jobs for a kind of database."""

    @abstractmethod
    def time(self) -> Any:
        """The time of a clock shared by all processes: a value for a column, or SQL."""

    @abstractmethod
    def lock(self, name: str) -> None:
        """Acquire the lock `name` for this transaction, waiting for other processes."""

    @abstractmethod
    def change_jobs(
        self, transition: Transition, parameters: Sequence[Any], event: JobEvent.Event, details: Sequence[Details]
    ) -> list[Row]:
        """Change jobs and insert an event for each job and each of the `details`. Return the rows of changed jobs."""

    @abstractmethod
    def admit_jobs(self, payers: Mapping[UUID, int | None], at: datetime) -> None:
        """Set `dispatched_at` and `dispatched_for` of pending jobs: the user whose cap counts the job, or None."""

    def admitted_jobs(self, queue: str) -> list[Row]:
        """The numbers of admitted jobs in a queue that have not ended, as (user id or None, cohort, jobs)."""
        return execute(_ADMITTED, [queue])

    @abstractmethod
    def insert_jobs(
        self, jobs: Sequence[Job], event: JobEvent.Event, details: Mapping[UUID, Details]
    ) -> Collection[UUID]:
        """Insert the jobs whose `unique_key` is free, in this order. Return the inserted ids.

        Each job gets an event, with its entry in `details` if any, and the request of its first requester.
        """


_ADMITTED = f"""SELECT "dispatched_for_id", "cohort", COUNT(*) FROM "{JOBS}"
WHERE "queue" = %s AND "finished_at" IS NULL AND "dispatched_at" IS NOT NULL GROUP BY 1, 2"""  # noqa: S608


def admit_jobs(payers: str, chosen: str) -> str:
    """The UPDATE of an admission. `payers` is a table with the columns `own_id` and `payer`.

    Parameters: the time, the parameters of `payers`, and the parameters of `chosen`, the condition for the jobs.
    """
    return (
        f'UPDATE "{JOBS}" SET "dispatched_at" = %s, "dispatched_for_id" = "own"."payer" FROM {payers} '  # noqa: S608
        f"""WHERE "id" = "own"."own_id" AND "status" = 'pending' AND {chosen} RETURNING 1"""
    )


def update_jobs(transition: Transition, chosen: str, own: str) -> str:
    """The UPDATE of a transition. `chosen` is the condition with the parameters of the ids.

    `own` is the table with each job's own values, with a parameter for the JSON. Its column `own_id` has the job's id.
    """
    sets = [f'"last_seq" = "last_seq" + {transition.events}']
    sets += (f'"{COLUMNS[name].column}" = {"%s" if sql is None else sql}' for name, sql in transition.changes)
    sets += (f'"{COLUMNS[name].column}" = "own"."{name}"' for name in transition.own)
    where = [chosen, f'"status" IN ({placeholders(transition.statuses)})']
    if transition.own:
        where.insert(0, f'"{JOBS}"."id" = "own"."own_id"')
    where += (f'"{COLUMNS[name].column}" {operator} %s' for name, operator in transition.conditions)
    if transition.only_alone:
        where.append(f"NOT {_OTHERS_WAIT}")
    returned = ", ".join(f'"{JOBS}"."{COLUMNS[name].column}"' for name in transition.returned)
    others_wait = _OTHERS_WAIT if transition.asks_for_others else "NULL"
    return (
        f'UPDATE "{JOBS}" SET {", ".join(sets)} {f"FROM {own} " if transition.own else ""}'  # noqa: S608
        f"WHERE {' AND '.join(where)} "
        f'RETURNING {returned}, {others_wait} AS "others_wait"'
    )


@dataclass(frozen=True)
class JobValues:
    """The values of jobs to insert. `same`: of the columns in which all jobs agree, in the model's order."""

    same: Sequence[Any]
    different: Sequence[str]
    """The other columns."""
    rows: Sequence[Mapping[str, Any]]
    """The values of the other columns, by column, for each job."""


def job_values(jobs: Sequence[Job]) -> JobValues:
    """Split the values of jobs. Most columns are the same in all jobs, and their values are sent once.

    Django's `bulk_create` quotes each of the thirty values of each job, and made bulk requests take three times as
    long.
    """
    values_of = dict(zip(COLUMNS.values(), zip(*map(_values, jobs), strict=True), strict=True))
    different = [
        field for field, values in values_of.items() if field.primary_key or values.count(values[0]) < len(values)
    ]
    columns = [str(field.column) for field in different]
    same = [(field, values[0]) for field, values in values_of.items() if field not in different]
    rows = zip(*(values_of[field] for field in different), strict=True)
    return JobValues(
        [field.get_db_prep_save(value, connection) for field, value in same],
        columns,
        [dict(zip(columns, row, strict=True)) for row in rows],
    )


def insert_jobs(values: JobValues, extracted: str, rows: str) -> str:
    """An INSERT of all jobs from `rows`. `extracted` is the SQL for a differing column, with `{}` for its name.

    Parameters: the values that all jobs share, and the parameters of `rows`.
    """
    columns = [field.column for field in COLUMNS.values()]
    names = ", ".join(f'"{column}"' for column in columns)
    chosen = ", ".join(extracted.format(column) if column in values.different else "%s" for column in columns)
    return f'INSERT INTO "{JOBS}" ({names}) SELECT {chosen} FROM {rows} ON CONFLICT DO NOTHING RETURNING *'  # noqa: S608


def mark_saved(jobs: Sequence[Job], inserted: Collection[UUID]) -> Collection[UUID]:
    """Leave the jobs as `bulk_create` does; return the inserted ids."""
    for job in jobs:
        job._state.adding, job._state.db = False, connection.alias
    return inserted


def insert_events(jobs: str, events: int, payload: str, details: str, *, at: str = "%s") -> str:
    """An INSERT of `events` events for each row of `jobs`, which has a job's columns.

    `details` is a table with the number of each event, from 1 on, and the columns that `payload` uses. Parameters: the
    event, its time (if `at` is a parameter), and the parameters of `details`.
    """
    return (
        f'INSERT INTO "{EVENTS}" ("job_id", "seq", "event", "payload", "created_at", "error") '  # noqa: S608
        f"""SELECT "id", "last_seq" - {events} + "number", %s, {payload}, {at}, '' FROM "{jobs}", {details}"""
    )


def facts() -> str:
    """The facts of a payload as arguments of a function that builds JSON: each name, then its value."""
    return ", ".join(["'state', \"status\"", *(f"""'{name}', "{name}\"""" for name in FACTS)])


def new_values(transition: Transition) -> str:
    """The fields of `told` as arguments of a function that builds JSON: each name, then its new value."""
    return ", ".join(f"""'{name}', "{COLUMNS[name].column}\"""" for name in transition.told)


def now() -> Any:
    """The time of this machine's clock as a parameter."""
    return connection.ops.adapt_datetimefield_value(timezone.now())


def placeholders(count: int) -> str:
    return ", ".join(["%s"] * count)


def execute(sql: str, parameters: Sequence[Any]) -> list[Row]:
    """The rows of a statement that returns rows."""
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        rows: list[Row] = cursor.fetchall()
        return rows
