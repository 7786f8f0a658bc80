"""How the database finds jobs: what happens all the time never reads those that have ended, however many there are."""

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from operations import statistics
from portfolio.holdings import held_stocks, statements
from tasks import control, lifecycle, sweeper, worker
from tasks.execution import run_job
from tasks.models import Job
from tasks.requests import request_fetches
from tasks.turns import forget_unused, take_turns

pytestmark = pytest.mark.django_db(transaction=True)

INDEXES_OF_ACTIVE_JOBS = ("job_work_order", "job_turns", "one_active_job_a_thing")


@pytest.fixture
def reads_of_all_jobs() -> Iterator[list[str]]:
    """The statements of a test that read the whole table of jobs, or a whole index of it."""
    found: list[str] = []

    def look(execute: Callable[..., Any], sql: str, parameters: Any, many: bool, context: Any) -> Any:
        if not many and '"tasks_job"' in sql and re.match(r"\s*(SELECT|UPDATE|DELETE|INSERT|WITH)\b", sql):
            found.extend(f"{step}: {sql}" for step in _plan(sql, parameters) if _reads_all(step))
        return execute(sql, parameters, many, context)

    if connection.vendor == "postgresql":  # it reads small tables as a whole, unless it may not
        with connection.cursor() as cursor:
            cursor.execute("SET enable_seqscan = off")
    with connection.execute_wrapper(look):
        yield found
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("RESET enable_seqscan")


def _plan(sql: str, parameters: Any) -> list[str]:
    """The steps in which the database would do it."""
    with connection.wrap_database_errors:
        raw = connection.connection.cursor()
        if connection.vendor == "postgresql":
            return [step for (step,) in raw.execute(f"EXPLAIN {sql}", parameters).fetchall()]
        words = sql.replace("%s", "?").replace("%%", "%")
        return [step for *_, step in raw.execute(f"EXPLAIN QUERY PLAN {words}", parameters or ()).fetchall()]


def _reads_all(step: str) -> bool:
    if any(index in step for index in INDEXES_OF_ACTIVE_JOBS):
        return False
    return bool(re.search(r"Seq Scan on tasks_job\b|SCAN (tasks_job|waiting)\b|job_newest_first", step))


@pytest.fixture
def jobs(yahoo, user, hold) -> list[Job]:
    symbols = [f"S{number}" for number in range(9)]
    yahoo.serve(*symbols)
    return request_fetches(hold(user, *symbols), Job.Trigger.USER_LOGIN, user).created


def test_the_check_sees_a_statement_that_reads_all_jobs(jobs, reads_of_all_jobs):
    Job.objects.filter(status=Job.Status.FAILED).count()
    assert len(reads_of_all_jobs) == 1


def test_requests_turns_and_what_workers_do_read_active_jobs_alone(jobs, user, reads_of_all_jobs):
    lifecycle.mark_queued([job.pk for job in jobs])
    assert run_job(jobs[0].pk, "worker")
    control.reprioritise([jobs[1].pk], 3, "admin")
    control.cancel([jobs[2].pk], "admin")
    request_fetches(held_stocks(user), Job.Trigger.USER_REQUEST, user)
    with transaction.atomic():
        take_turns("foreground", 1)
    worker.hand_back()
    assert reads_of_all_jobs == []


def test_the_sweeper_reads_active_jobs_alone(jobs, reads_of_all_jobs, monkeypatch):
    monkeypatch.setattr(sweeper, "FORGOTTEN_AFTER", timedelta(0))
    sweeper.sweep()
    sweeper.expire_overdue()
    sweeper.rescue_abandoned()
    forget_unused(timedelta(0))
    assert reads_of_all_jobs == []


def test_the_page_of_a_user_and_the_depths_of_queues_read_no_ended_jobs_of_others(jobs, user, reads_of_all_jobs):
    statements(user)
    statistics.depths()
    statistics.queue_states(timezone.now())
    statistics.running_jobs(timezone.now())
    assert reads_of_all_jobs == []
