"""How the database finds jobs: what happens all the time never reads those that have ended, however many there are."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.urls import reverse
from django.utils import timezone

from console.dashboard.page import collect
from market.jobs.requests import request_fetches
from market.models import Stock
from operations.monitoring import last_hour, readings, statistics
from operations.monitoring.health import Readiness
from operations.monitoring.metrics import JobMetrics
from portfolio import tracking
from portfolio.holdings import held_stocks, statements
from portfolio.models import PortfolioPriority
from portfolio.refreshing import refresh_prices
from tasks import control
from tasks.bulk import runner
from tasks.bulk.changes import change
from tasks.celery_worker import signals
from tasks.delivery.admission import admit, forget_unused
from tasks.enqueue import EnqueueResult
from tasks.groups import group_jobs
from tasks.models import BulkAction, Job, JobEvent
from tasks.running.execute import run_job
from tasks.state import lifecycle
from tasks.upkeep import retention, sweeper
from tasks.upkeep.group_mails import tell_ended_groups

pytestmark = pytest.mark.django_db(transaction=True)

_STATEMENT = r"\s*(SELECT|UPDATE|DELETE|INSERT|WITH)\b"
_END_OF_A_LOOK = r" LIMIT 1 OFFSET \d+$"
"""Such a statement reads so many rows of an index."""
INDEXES_OF_ACTIVE_JOBS = ("job_waiting", "job_work_order", "job_admitted", "job_refused", "one_active_job_a_thing")


@pytest.fixture
def reads_of_all_jobs() -> Iterator[list[str]]:
    """The statements of a test that read the whole table of jobs, or a whole index of it."""
    found: list[str] = []

    def look(execute: Callable[..., Any], sql: str, parameters: Any, many: bool, context: Any) -> Any:
        if not many and '"tasks_job"' in sql and re.match(_STATEMENT, sql) and not re.search(_END_OF_A_LOOK, sql):
            found.extend(f"{step}: {sql}" for step in _plan(sql, parameters) if _reads_all(step))
        return execute(sql, parameters, many, context)

    with _no_whole_tables(), connection.execute_wrapper(look):
        yield found


@pytest.fixture
def plans() -> Iterator[list[str]]:
    """How the database would do each statement of a test, where reading whole tables is the last resort."""
    found: list[str] = []

    def look(execute: Callable[..., Any], sql: str, parameters: Any, many: bool, context: Any) -> Any:
        if re.match(_STATEMENT, sql):
            found.append("; ".join(_plan(sql, parameters)))
        return execute(sql, parameters, many, context)

    with _no_whole_tables(), connection.execute_wrapper(look):
        yield found


@contextmanager
def _no_whole_tables() -> Iterator[None]:
    """PostgreSQL reads small tables as a whole, unless it may not."""
    if connection.vendor != "postgresql":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
    yield
    with connection.cursor() as cursor:
        cursor.execute("RESET enable_seqscan")


def _plan(sql: str, parameters: Any) -> list[str]:
    """The steps in which the database would do it."""
    with connection.wrap_database_errors:
        raw = connection.connection.cursor()
        if connection.vendor == "postgresql":
            lines = "\n".join(step for (step,) in raw.execute(f"EXPLAIN {sql}", parameters).fetchall())
            return re.sub(r"\n +(?=Index Cond: )", " ", lines).splitlines()
        words = sql.replace("%s", "?").replace("%%", "%")
        return [step for *_, step in raw.execute(f"EXPLAIN QUERY PLAN {words}", parameters or ()).fetchall()]


def _reads_all(step: str) -> bool:
    if any(index in step for index in INDEXES_OF_ACTIVE_JOBS):
        return False
    if "job_ended" in step:
        return not re.search(r"\bfinished_at ?[<>]", step)  # from a moment on, or up to one
    if "job_newest_first" in step:
        return not re.search(r"\bcreated_at ?[<>]", step)
    if re.search(r"Scan( Backward)? using \w+ on tasks_job\b", step):
        return "Index Cond: " not in step
    return bool(re.search(r"Seq Scan on tasks_job\b|SCAN (tasks_job|waiting)\b", step))


@pytest.fixture
def jobs(yahoo, user, hold) -> list[Job]:
    symbols = [f"S{number}" for number in range(9)]
    yahoo.serve(*symbols)
    return request_fetches(hold(user, *symbols), Job.Trigger.USER_LOGIN, user).created


def test_the_check_sees_a_statement_that_reads_all_jobs(jobs, reads_of_all_jobs):
    Job.objects.filter(status=Job.Status.COMPLETED).count()
    assert len(reads_of_all_jobs) == 1


def test_requests_turns_and_what_workers_do_read_active_jobs_alone(jobs, user, reads_of_all_jobs):
    lifecycle.mark_queued([job.pk for job in jobs])
    assert run_job(jobs[0].pk, "worker")
    control.reprioritise([jobs[1].pk], 3, "admin")
    control.cancel([jobs[2].pk], "admin")
    request_fetches(held_stocks(user), Job.Trigger.USER_REQUEST, user)
    with transaction.atomic():
        admit("foreground", 1)
    signals.hand_back()
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
    statistics.queue_states(statistics.active_jobs(), timezone.now())
    statistics.running_jobs(timezone.now())
    assert reads_of_all_jobs == []


def test_a_refresh_reads_active_jobs_and_jobs_that_have_just_ended(jobs, user, reads_of_all_jobs):
    stocks = held_stocks(user)
    refresh_prices(stocks, user)
    lifecycle.cancel([job.pk for job in jobs[:4]], "not needed")
    reads_of_all_jobs.clear()
    assert len(refresh_prices(stocks, user).recent) == 4
    assert reads_of_all_jobs == []


def test_metrics_read_what_is_active_and_what_the_last_hour_brought(jobs, reads_of_all_jobs):
    lifecycle.mark_queued([job.pk for job in jobs])
    assert run_job(jobs[0].pk, "worker")
    reads_of_all_jobs.clear()
    assert list(JobMetrics(timezone.now()).collect())
    assert reads_of_all_jobs == []


@pytest.mark.parametrize(
    ("read", "index"),
    [
        (lambda: last_hour.ended(timezone.now()), "job_ended"),
        (lambda: last_hour.processing_times(timezone.now()), "job_ended"),
        (lambda: last_hour.logins(timezone.now()), "request_of_a_login"),
        (lambda: statistics.outbox(timezone.now()), "outbox_set_aside"),
    ],
    ids=["ended", "processing_times", "logins", "set_aside"],
)
def test_what_every_scrape_asks_for_is_found_by_an_index_of_its_own(jobs, plans, read, index):
    read()
    assert any(index in plan for plan in plans)


def test_the_page_of_operations_reads_active_jobs_and_those_that_ended_lately(jobs, reads_of_all_jobs):
    collect(Readiness("ok", {"database": "ok", "broker": "ok"}))
    assert reads_of_all_jobs == []


def test_the_highest_scores_are_read_from_the_end_of_their_index(plans):
    tracking.highest(10, timezone.now())
    assert "priority_by_score" in plans[0]


def test_a_search_among_tracked_stocks_reads_those_of_the_user_and_the_stock_alone(user, hold, plans, rf):
    _track(user, *hold(user, "AAPL"))
    lists = admin.site.get_model_admin(PortfolioPriority)
    for words in (user.username, "AAPL"):
        found, _ = lists.get_search_results(rf.get("/"), lists.get_queryset(rf.get("/")), words)
        assert len(found) == 1
        assert not re.search(r"(Seq Scan on|SCAN) user_portfolio_priority", plans[-1]), plans[-1]


def _track(user: User, *stocks: Stock) -> None:
    PortfolioPriority.objects.bulk_create(PortfolioPriority(user=user, stock=stock) for stock in stocks)


def test_a_week_of_readings_is_found_by_its_minutes(plans):
    readings.history(readings.Period.WEEK, timezone.now())
    (plan,) = plans
    assert re.search(r"operations_reading_pkey|operations_reading USING INTEGER PRIMARY KEY", plan), plan


def test_following_what_was_asked_for_reads_its_jobs_alone(jobs, user, admin_client, reads_of_all_jobs):
    group = group_jobs("Fetch of 9 stocks", EnqueueResult(jobs), user)
    reads_of_all_jobs.clear()
    for address in ("", f"{group.pk}/change/", f"{group.pk}/figures/"):
        assert admin_client.get(f"/admin/tasks/jobgroup/{address}").status_code == 200
    tell_ended_groups()


LONG_AGO = "2000-01-01T00:00:00+00:00"
SOME_DAY = "2100-01-01T00:00:00+00:00"
ANY_OF_ACTIVE_JOBS = "|".join(INDEXES_OF_ACTIVE_JOBS)
WALKED: dict[str, dict[str, str]] = {
    "first page": {},
    "older": {"older": f"{SOME_DAY},00000000-0000-4000-8000-000000000000"},
    "newer": {"newer": f"{LONG_AGO},00000000-0000-4000-8000-000000000000"},
    "worker": {"worker_id__exact": "w@here:1"},
    "priority": {"priority__exact": "1"},
    "completed": {"status__exact": "completed"},
}
"""What no index leads to: the newest jobs are looked through, so many of them."""
LED_TO: dict[str, tuple[dict[str, str], str]] = {
    "failed": ({"status__exact": "failed"}, "job_unsuccessful"),
    "failed lately": ({"status__exact": "failed", "finished_at__gte": LONG_AGO}, "job_unsuccessful_end"),
    "running": ({"status__exact": "running"}, ANY_OF_ACTIVE_JOBS),
    "active": ({"finished_at__isnull": "True", "queue__exact": "foreground"}, ANY_OF_ACTIVE_JOBS),
    "ended lately": ({"finished_at__gte": LONG_AGO, "worker_id__exact": "w@here:1"}, "job_ended"),
    "symbol": ({"q": "s1"}, "job_of_a_stock"),
    "symbols": ({"q": "s"}, "job_of_a_stock"),
    "user": ({"q": "somebody"}, "tasks_jobrequest_user_id"),
    "id": ({"q": "00000000"}, "tasks_job_pkey|sqlite_autoindex_tasks_job_1"),
}


@pytest.mark.parametrize("lookups", WALKED.values(), ids=WALKED)
def test_where_no_index_leads_to_jobs_so_many_of_the_newest_are_read(
    jobs, admin_client, plans, reads_of_all_jobs, monkeypatch, lookups
):
    monkeypatch.setattr("console.kit.keyset.LOOK_BACK", 2)
    plans.clear()
    assert admin_client.get("/admin/tasks/job/", lookups).status_code == 200
    assert any("job_newest_first" in plan for plan in plans)
    assert reads_of_all_jobs == []


@pytest.mark.parametrize(("lookups", "index"), LED_TO.values(), ids=LED_TO)
def test_what_is_rare_or_searched_for_is_found_by_its_index(
    jobs, admin_client, plans, reads_of_all_jobs, lookups, index
):
    if connection.vendor == "sqlite" and "unsuccessful" in index:
        pytest.skip("SQLite takes no partial index for values that come as parameters")
    User.objects.create_user("somebody")
    lifecycle.cancel([job.pk for job in jobs[4:]], "not needed")
    plans.clear()
    reads_of_all_jobs.clear()
    assert admin_client.get("/admin/tasks/job/", lookups).status_code == 200
    assert any(re.search(index, plan) for plan in plans)


def test_a_jobs_page_reads_that_job_and_those_that_ran_it_again(jobs, user, admin_client, reads_of_all_jobs):
    lifecycle.cancel([jobs[0].pk], "not needed")
    ended = Job.objects.get(pk=jobs[0].pk)
    (again,) = control.rerun([ended], user).created
    for job in (ended, again):
        assert admin_client.get(reverse("admin:tasks_job_change", args=[job.pk])).status_code == 200
    assert reads_of_all_jobs == []


def test_a_batch_of_an_action_on_many_jobs_reads_these_alone(jobs, admin_user, reads_of_all_jobs):
    lifecycle.cancel([job.pk for job in jobs[:3]], "not needed")
    for kind, priority, batch in (
        (BulkAction.Kind.RUN_AGAIN, None, jobs[:3]),
        (BulkAction.Kind.REPRIORITISE, 3, jobs[3:6]),
        (BulkAction.Kind.CANCEL, None, jobs[6:]),
    ):
        action, _ = runner.begin(kind, "", admin_user, 3, priority)
        with transaction.atomic():
            changed = change(action, Job.objects.in_bulk([job.pk for job in batch]).values())
        assert changed.done == 3
        runner.is_waiting(action)
    assert reads_of_all_jobs == []


def test_a_cleanup_reads_old_jobs_alone(jobs, reads_of_all_jobs, monkeypatch):
    monkeypatch.setattr(retention, "ROWS_PER_BATCH", 2)
    monkeypatch.setattr(retention, "PAUSE_BETWEEN_BATCHES", 0)
    lifecycle.cancel([job.pk for job in jobs], "not needed")
    reads_of_all_jobs.clear()
    JobEvent.objects.filter(job__in=jobs[3:]).update(published_at=timezone.now())
    assert retention.preview(timezone.now()).jobs == len(jobs) - 3
    deleted = retention.clean_up(timezone.now())
    assert (deleted.jobs, deleted.kept) == (len(jobs) - 3, 3)
    assert reads_of_all_jobs == []
