"""What ended long ago is deleted, with all that belongs to it, and nothing else."""

import json
import threading
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from celery import current_app
from celery.app.task import Context
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, PeriodicTask
from django_celery_results.models import TaskResult

from market.models import Analysis, Stock
from operations.local.child_processes import wait_until
from operations.models import Reading
from operations.monitoring import readings
from portfolio.models import Login
from tasks.enqueue import EnqueueResult
from tasks.groups import group_jobs
from tasks.models import Job, JobEvent, JobGroup, JobRequest, ScheduleRun, Worker
from tasks.upkeep import retention
from tasks.upkeep.retention import clean_up, cutoff, preview
from tasks.upkeep.schedule_slots import run_once_a_slot
from tests.conftest import WORKER
from tests.support.jobs import new_job
from tests.support.workers import new_worker

pytestmark = pytest.mark.django_db(transaction=True)

DAY = timedelta(days=1)


def old_job(symbol: str = "OLD", days: float = 8, *, published: bool = True, **fields: Any) -> Job:
    """A job that ended so many days ago."""
    moment = timezone.now() - days * DAY
    job = new_job(symbol, **{"status": "completed", "finished_at": moment, "created_at": moment, **fields})
    job.events.update(created_at=moment, published_at=moment if published else None)
    return job


def new_reading(days: float) -> None:
    """The figures of a minute so many days ago, as an alert check writes them down."""
    readings.keep({}, timezone.now() - days * DAY)


def run_command(*words: str) -> str:
    output = StringIO()
    call_command("cleanup", *words, stdout=output)
    return output.getvalue()


def symbols() -> set[str]:
    return set(Job.objects.values_list("symbol", flat=True))


def test_jobs_that_ended_long_ago_go_with_their_events_and_requests(user):
    for status in ("completed", "failed", "expired", "cancelled"):
        old_job(status[:3].upper(), status=status, user=user)
    old_job("NEW", days=6)
    new_job("ACTIVE", created_at=timezone.now() - 30 * DAY)
    old_job("LATE", finished_at=timezone.now() - 6 * DAY)
    requests, events = JobRequest.objects.count(), JobEvent.objects.count()
    deleted = clean_up(cutoff())
    assert symbols() == {"NEW", "ACTIVE", "LATE"}
    assert (deleted.jobs, deleted.events, deleted.requests, deleted.kept) == (4, 4, 4, 0)
    assert (JobRequest.objects.count(), JobEvent.objects.count()) == (requests - 4, events - 4)
    assert set(clean_up(cutoff()).counts().values()) == {0}


def test_the_configuration_says_how_long_jobs_stay(configured):
    old_job(days=20)
    configured(**{"jobs.cleanup_after_days": 21})
    assert clean_up(cutoff()).jobs == 0
    configured(**{"jobs.cleanup_after_days": 19})
    assert clean_up(cutoff()).jobs == 1


def test_a_job_stays_while_an_event_of_it_waits_to_be_published():
    waiting = old_job("WAITING", published=False)
    set_aside = old_job("ASIDE", published=False)
    set_aside.events.update(error="stock_fetch: it cannot be a topic")
    half = old_job("HALF")
    JobEvent.objects.create(job=half, seq=2, event="queued")
    deleted = clean_up(cutoff())
    assert symbols() == {"WAITING", "HALF"}
    assert (deleted.jobs, deleted.kept) == (1, 2)
    waiting.events.update(published_at=timezone.now())
    assert clean_up(cutoff()).jobs == 1


def test_a_group_goes_when_its_last_job_has_gone(user):
    def group(*jobs: Job, days: float = 9) -> JobGroup:
        row = group_jobs("Fetch", EnqueueResult(list(jobs)), user)
        JobGroup.objects.filter(pk=row.pk).update(created_at=timezone.now() - days * DAY)
        return row

    old = old_job("A")
    group(old)
    group()
    shared = group(old, old_job("B", days=1))
    kept = group(old_job("C", published=False))
    active = group(new_job("D"))
    young = group(days=1)
    assert preview(cutoff()).job_groups == 2
    assert clean_up(cutoff()).job_groups == 2
    assert set(JobGroup.objects.all()) == {shared, kept, active, young}
    assert [job.symbol for job in shared.jobs.all()] == ["B"]


def test_runs_of_schedules_go_but_the_last_one_of_each():
    long_ago, recent = timezone.now() - 8 * DAY, timezone.now() - 3 * DAY
    for schedule, moment in [
        ("Market data", long_ago - DAY),
        ("Market data", long_ago),
        ("Market data", recent),
        ("Scheduled portfolio update", long_ago - DAY),
        ("Scheduled portfolio update", long_ago),
        ("deleted", long_ago),
    ]:
        ScheduleRun.objects.create(schedule=schedule, slot=moment, ran_at=moment)
    assert clean_up(cutoff()).schedule_runs == 4
    assert set(ScheduleRun.objects.values_list("schedule", "slot")) == {
        ("Market data", recent),
        ("Scheduled portfolio update", long_ago),
    }


def test_the_slot_of_a_rare_schedule_is_not_done_again_after_a_cleanup():
    name = "Scheduled portfolio update"
    message = Context({"periodic_task_name": name, "celery_beat_task": True})
    long_ago = timezone.now() - 100 * DAY
    CrontabSchedule.objects.filter(periodictask__name=name).update(
        hour="9", day_of_week="*", day_of_month=str(long_ago.day), month_of_year=str(long_ago.month)
    )
    assert run_once_a_slot(message, lambda: "done") == "done"
    ScheduleRun.objects.create(schedule="deleted", slot=long_ago, ran_at=long_ago)
    ScheduleRun.objects.update(ran_at=long_ago)
    assert clean_up(cutoff()).schedule_runs == 1
    assert "has already run" in run_once_a_slot(message, lambda: pytest.fail("it ran again"))


def test_workers_that_ended_over_a_day_ago_go():
    yesterday, earlier = timezone.now() - 0.9 * DAY, timezone.now() - 1.1 * DAY
    new_worker("alive", started_at=earlier)
    for told in ("", "registered", "unregistered", "disconnected"):
        new_worker(f"stopped {told}", heartbeat_at=earlier, stopped_at=earlier, told=told)
        new_worker(f"gone {told}", heartbeat_at=earlier, told=told)
        new_worker(f"just stopped {told}", heartbeat_at=yesterday, stopped_at=yesterday, told=told)
        new_worker(f"just gone {told}", heartbeat_at=yesterday, told=told)
    assert clean_up(cutoff()).workers == 6
    others = Worker.objects.filter(worker_id__contains="@")  # a real worker of other tests may live
    left = {
        name
        for name in Worker.objects.exclude(pk__in=others).values_list("worker_id", flat=True)
        if "just" not in name
    }
    assert left == {"alive", "stopped registered", "gone registered"}, "their end is still to be told"
    assert Worker.objects.filter(worker_id__contains="just").count() == 8


def test_task_results_go_where_celery_does_not_delete_them():
    for days in (8, 6):
        row = TaskResult.objects.create(task_id=f"{days} days")
        TaskResult.objects.filter(pk=row.pk).update(date_done=timezone.now() - days * DAY)
    assert clean_up(cutoff()).task_results == 1
    assert TaskResult.objects.get().task_id == "6 days"


def test_figures_of_minutes_go_after_eight_days_whatever_is_asked_for():
    for days in (9, 8.01, 7.99, 0):
        new_reading(days)
    assert preview(cutoff(30)).more["readings"] == 2
    assert clean_up(cutoff(30)).more["readings"] == 2
    assert Reading.objects.earliest("at").at > timezone.now() - 8 * DAY
    assert Reading.objects.count() == 2


def test_logins_go_after_eight_days_whatever_is_asked_for():
    for days in (9, 8.01, 7.99, 0):
        Login.objects.create(at=timezone.now() - days * DAY, stocks=1, stale=0)
    assert preview(cutoff(30)).more["logins"] == 2
    assert clean_up(cutoff(30)).more["logins"] == 2
    assert Login.objects.earliest("at").at > timezone.now() - 8 * DAY
    assert Login.objects.count() == 2


def test_analyses_go_but_the_newest_of_each_stock_and_kind():
    def analysed(symbol: str, kind: str, days: float) -> int:
        stock, _ = Stock.objects.get_or_create(symbol=symbol)
        moment = timezone.now() - days * DAY
        return Analysis.objects.create(stock=stock, kind=kind, version="rule/1", created_at=moment).pk

    old = {analysed("AAPL", "technical", 30), analysed("AAPL", "technical", 20)}
    analysed("AAPL", "technical", 9)  # the newest, however old
    analysed("AAPL", "sentiment", 30)
    analysed("MSFT", "technical", 30)
    analysed("NEW", "technical", 3)
    analysed("NEW", "technical", 2)
    before = set(Analysis.objects.values_list("pk", flat=True))
    assert preview(cutoff()).more["analyses"] == 2
    assert clean_up(cutoff()).more["analyses"] == 2
    assert before - set(Analysis.objects.values_list("pk", flat=True)) == old


def test_celery_deletes_task_results_after_a_day():
    """So that what this program deletes itself is what is left where that schedule is switched off."""
    assert current_app.conf.result_expires == DAY
    for days in (1.1, 0.9):
        row = TaskResult.objects.create(task_id=f"{days} days")
        TaskResult.objects.filter(pk=row.pk).update(date_done=timezone.now() - days * DAY)
    current_app.backend.cleanup()
    assert TaskResult.objects.get().task_id == "0.9 days"


def test_many_rows_are_deleted_in_several_transactions(monkeypatch):
    monkeypatch.setattr(retention, "ROWS_PER_BATCH", 3)
    monkeypatch.setattr(retention, "PAUSE_BETWEEN_BATCHES", 0)
    for number in range(8):
        old_job(f"S{number}", days=10, published=number != 4)
        old_job(f"T{number}", days=9 + number / 100)
    same = timezone.now() - 20 * DAY
    Job.objects.filter(symbol__startswith="S").update(created_at=same)
    transactions = []

    def count(execute, sql, *rest):
        if sql.startswith("DELETE") and '"tasks_job" ' in sql:
            transactions.append(connection.in_atomic_block)
        return execute(sql, *rest)

    with connection.execute_wrapper(count):
        assert clean_up(cutoff()).jobs == 15
    assert symbols() == {"S4"}
    assert transactions == [True] * 6


def test_two_cleanups_at_once_delete_each_row_once(monkeypatch):
    monkeypatch.setattr(retention, "ROWS_PER_BATCH", 5)
    for number in range(40):
        old_job(f"S{number}")
    results = []

    def work() -> None:
        try:
            results.append(clean_up(cutoff()))
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(results) == 2
    assert sum(result.jobs for result in results) == 40
    assert not Job.objects.exists()


def test_the_command_tells_what_it_deletes():
    old_job(days=3)
    old_job("MSFT", days=3, published=False)
    new_worker(heartbeat_at=timezone.now() - 2 * DAY)
    new_reading(days=9)
    told = json.loads(run_command("--days", "2", "--dry-run", "--json"))
    assert told.pop("before") < timezone.now().isoformat()
    counts = {
        "jobs": 1,
        "events": 1,
        "requests": 1,
        "job_groups": 0,
        "bulk_actions": 0,
        "schedule_runs": 0,
        "workers": 1,
        "task_results": 0,
        "analyses": 0,
        "logins": 0,
        "mails": 0,
        "sign_ups": 0,
        "sessions": 0,
        "price_alert_notices": 0,
        "readings": 1,
        "kept": 1,
    }
    assert told == {"dry_run": True, **counts}
    assert run_command("--days", "2", "--dry-run").startswith("Would delete rows that ended before 20")
    assert Job.objects.count() == 2
    first, second = run_command("--days", "2").splitlines()
    assert (
        "UTC: 1 jobs, 1 events, 1 requests, 0 job groups, 0 bulk actions, 0 schedule runs, 1 workers, 0 task results, "
        "0 analyses, 0 logins, 0 mails, 0 sign ups, 0 sessions, 0 price alert notices, 1 readings." in first
    )
    assert second == "Old jobs kept because their events are not published yet: 1."
    assert Job.objects.count() == 1
    assert len(run_command().splitlines()) == 1


@pytest.mark.parametrize("days", ["0", "-1", "36501", "x", "1.5", "", "9" * 5000, "٣"])
def test_a_bad_number_of_days_is_refused(days):
    with pytest.raises(CommandError, match="is not a number of days from 1 to 36500"):
        run_command("--days", days)


def test_a_worker_does_the_cleanup_that_beat_sends(new_redis, start):
    old_job()
    task = PeriodicTask.objects.get(name="Cleanup").task
    words = (*WORKER, "-Q", "background_analysis")
    with start(*words, ready=" ready.", CELERY_BROKER_URL=new_redis.url):
        with current_app.connection_for_write(new_redis.url) as connection:
            current_app.send_task(task, connection=connection)
        wait_until(lambda: not Job.objects.exists(), "the cleanup")
