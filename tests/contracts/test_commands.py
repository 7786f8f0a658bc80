"""The commands about jobs: what they say and do, and their exit codes."""

import json
import os
import re
import subprocess
import sys
from contextlib import suppress
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from market.jobs.requests import request_fetches
from market.models import Stock
from operations.local.child_processes import free_port
from tasks.models import Job
from tasks.state import lifecycle
from tasks.upkeep.sweeper import sweep
from tests.conftest import ROOT, database_url
from tests.support.jobs import new_job
from tests.support.workers import new_worker

NOBODY = "00000000-0000-4000-8000-000000000000"


def call(*words: str) -> str:
    """What a command prints."""
    output = StringIO()
    call_command(*words, stdout=output, stderr=output)
    return output.getvalue()


def refused(*words: str) -> CommandError:
    with pytest.raises(CommandError) as refusal:
        call(*words)
    assert "\n" not in str(refusal.value)
    return refusal.value


def start_command(*words: str, **environment: str) -> "subprocess.Popen[str]":
    """A command as a process of its own, on the test database."""
    return subprocess.Popen(
        [sys.executable, "manage.py", *words],
        cwd=ROOT,
        env=os.environ | {"DATABASE_URL": database_url()} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(*words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """The same, to its end."""
    with start_command(*words, **environment) as process:
        try:
            output, errors = process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return subprocess.CompletedProcess(words, process.returncode, output, errors)


def run_beside_beat(*words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """The same while jobs are swept, as beat has it done: on a slow machine the broker may refuse one at first."""
    with start_command(*words, **environment) as process:
        for _ in range(120):
            with suppress(subprocess.TimeoutExpired):
                output, errors = process.communicate(timeout=1)
                return subprocess.CompletedProcess(words, process.returncode, output, errors)
            sweep()
        process.kill()
        raise AssertionError(f"{words} has not ended")


@pytest.mark.django_db
def test_fetch_stock_queues_a_fetch_each_and_creates_unknown_stocks():
    said = call("fetch_stock", "aapl", "BRK-B", "AAPL")
    jobs = Job.objects.order_by("created_at")
    assert [(job.symbol, job.trigger, job.priority, job.user) for job in jobs] == [
        ("AAPL", "user_request", 3, None),
        ("BRK-B", "user_request", 3, None),
    ]
    assert set(Stock.objects.values_list("symbol", flat=True)) == {"AAPL", "BRK-B"}
    assert [line.split(":")[0] for line in said.splitlines()] == ["new  AAPL", "new  BRK-B"]
    assert "priority 3 in foreground, requested by system (id " in said


@pytest.mark.django_db
def test_fetch_stock_joins_what_is_on_its_way_and_names_who_asked_for_it(user):
    job = new_job("AAPL", user=user)
    said = call("fetch_stock", "AAPL")
    assert Job.objects.count() == 1
    assert said == (
        f"joined  AAPL: pending, priority 3 in foreground, requested by {user.username}, system (id {job.pk})\n"
    )


@pytest.mark.django_db
def test_fetch_stock_with_a_range_is_a_backfill():
    call("fetch_stock", "AAPL", "--start", "2024-01-02", "--end", "2024-01-31", "--trigger", "scheduled_update")
    job = Job.objects.get()
    assert (job.queue, job.priority, job.trigger) == ("background_fetch", 5, "scheduled_update")
    assert (job.parameters["start"], job.parameters["end"]) == ("2024-01-02", "2024-01-31")


TODAY = timezone.now().date()
TOMORROW = TODAY + timedelta(days=1)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["AAPL", "no such"], "'no such' is not a symbol"),
        (["AAPL", "--start", "yesterday"], "--start yesterday is not a day; write it as 2024-01-31"),
        (["AAPL", "--end", "2024-01-31"], "--end 2024-01-31 needs --start"),
        (["AAPL", "--start", "2024-02-01", "--end", "2024-01-31"], "--start 2024-02-01 is after 2024-01-31"),
        (["AAPL", "--start", f"{TOMORROW}"], f"--start {TOMORROW} is in the future; the latest day is "),
        (["AAPL", "--start", "2024-01-01", "--end", "9999-12-31"], "--end 9999-12-31 is in the future"),
        (["AAPL", "--start", "1900-01-01"], "--start 1900-01-01 is more than 60 years before "),
        (["AAPL", "--start", "0001-01-01", "--end", "0100-01-01"], "the earliest is 0040-01-01"),
        (["AAPL", "--trigger", "whim"], "--trigger whim is not one of user_login, user_request, "),
        (["AAPL", "--wait", "--timeout", "soon"], "--timeout soon is not a number of seconds"),
        (["AAPL", "--wait", "--timeout", "nan"], "--timeout nan is not a number of seconds"),
        (["AAPL", "--timeout", "5"], "--timeout needs --wait"),
    ],
)
def test_fetch_stock_refuses_bad_arguments_and_does_nothing(words, error):
    refusal = refused("fetch_stock", *words)
    assert refusal.returncode == 2
    assert error in str(refusal)
    assert not Job.objects.exists()
    assert not Stock.objects.exists()


@pytest.mark.django_db
def test_fetch_stock_accepts_a_range_of_60_years_and_of_one_day():
    call("fetch_stock", "AAPL", "--start", str(TODAY - timedelta(days=21_915)))
    call("fetch_stock", "AAPL", "--start", "2024-02-29", "--end", "2024-02-29")
    assert sorted(job.parameters["days"] for job in Job.objects.all()) == [1, 21_916]


@pytest.mark.django_db(transaction=True)
def test_fetch_stock_waits_and_shows_each_end(yahoo, broker, worker):
    yahoo.serve("AAPL")
    done = run_beside_beat("fetch_stock", "AAPL", "--wait", CELERY_BROKER_URL=broker.url)
    assert done.returncode == 0, done.stderr
    first, last = done.stdout.splitlines()
    assert first.startswith("new  AAPL: ")
    assert last.startswith("AAPL: updated: ")
    assert last.endswith(" bars stored, from yahoo_finance")
    assert Stock.objects.get().bars.exists()


@pytest.mark.django_db(transaction=True)
def test_fetch_stock_ends_with_1_when_a_job_failed_and_prints_json_all_the_same(yahoo, broker, worker):
    yahoo.serve("AAPL")
    done = run_beside_beat("fetch_stock", "ZZTOP", "AAPL", "--wait", "--json", CELERY_BROKER_URL=broker.url)
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-1] == "CommandError: 1 of 2 jobs did not succeed"
    told = {job["symbol"]: job for job in json.loads(done.stdout)}
    assert {symbol: job["status"] for symbol, job in told.items()} == {"ZZTOP": "failed", "AAPL": "completed"}
    assert told["ZZTOP"]["error"] == "Yahoo Finance has no data for ZZTOP"
    assert told["AAPL"]["requesters"] == ["system"]


@pytest.mark.django_db
def test_fetch_stock_ends_with_1_when_the_time_is_up():
    refusal = refused("fetch_stock", "AAPL", "--wait", "--timeout", "0.3")
    assert (refusal.returncode, str(refusal)) == (1, "not ended after 0.3 s: AAPL is pending")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("wait", [["--wait"], []])
def test_a_command_that_does_its_jobs_itself_ends_after_them(yahoo, configuration_file, wait):
    symbols = [f"S{number}" for number in range(20)]  # more than it takes in hand at once
    yahoo.serve(*symbols)
    direct = configuration_file(**{"queue.backend": "direct"})
    done = run("fetch_stock", *symbols, *wait, STOCKQUEUE_CONFIG=str(direct), **yahoo.server.environment)
    assert done.returncode == 0, done.stderr
    assert set(Job.objects.values_list("status", flat=True)) == {"completed"}
    assert done.stdout.count(": updated: ") == (len(symbols) if wait else 0)


@pytest.mark.django_db(transaction=True)
def test_bad_arguments_end_the_process_with_2_and_one_line():
    for words in (["fetch_stock", "AAPL", "--end", "2024-01-31"], ["cancel_job", "x"], ["retry_job"]):
        done = run(*words)
        assert (done.returncode, done.stdout) == (2, "")
        assert len([line for line in done.stderr.splitlines() if "CommandError: " in line]) == 1
        assert "Traceback" not in done.stderr
    for words in (["fetch_stock"], ["fetch_stock", "AAPL", "--often"], ["reprioritise_job", NOBODY]):
        done = run(*words)
        assert (done.returncode, done.stdout) == (2, "")
        assert "see --help" in done.stderr.splitlines()[-1]
        assert "usage" not in done.stderr


@pytest.mark.django_db
@pytest.mark.parametrize("command", [["cancel_job"], ["retry_job"], ["reprioritise_job"]])
def test_an_id_that_is_malformed_or_unknown_is_named(command):
    more = ["5"] if command == ["reprioritise_job"] else []
    for text, error in (("12", "'12' is not a job's id"), (NOBODY, f"no job has the id {NOBODY}")):
        refusal = refused(*command, text, *more)
        assert refusal.returncode == 2
        assert error in str(refusal)


@pytest.mark.django_db
def test_cancel_job_cancels_what_has_not_ended_and_says_what_has():
    waiting, ended = new_job("AAPL"), new_job("MSFT", "completed")
    refusal = refused("cancel_job", str(waiting.pk), str(ended.pk))
    assert refusal.returncode == 1
    assert str(refusal) == f"job {ended.pk} is completed; only an active job can be cancelled"
    waiting.refresh_from_db()
    assert (waiting.status, waiting.error) == ("cancelled", "cancelled by the command line")
    other = new_job("IINN")
    assert call("cancel_job", str(other.pk)).startswith("IINN: cancelled, ")


@pytest.mark.django_db
def test_retry_job_makes_a_new_job_for_one_that_has_ended():
    failed, running = new_job("AAPL", "failed"), new_job("MSFT", "running")
    refusal = refused("retry_job", str(running.pk), str(failed.pk))
    assert refusal.returncode == 1
    assert f"job {running.pk} is running" in str(refusal)
    again = Job.objects.get(symbol="AAPL", status="pending")
    assert again.events.get(event="created").payload["retry_of"] == str(failed.pk)
    assert call("retry_job", str(failed.pk)).startswith("joined  AAPL: pending, ")


@pytest.mark.django_db
def test_retry_job_failed_leaves_out_what_was_run_again_already():
    new_job("AAPL", "failed")
    new_job("AAPL", "completed")
    new_job("MSFT", "failed")
    new_job("IINN", "failed")
    new_job("IINN", "failed")
    assert call("retry_job", "--failed", "--symbol", "aapl") == "No failed job.\n"
    assert call("retry_job", "--failed", "--symbol", "msft").startswith("new  MSFT: pending, ")
    said = call("retry_job", "--failed")
    assert [line.split(":")[0] for line in said.splitlines()] == ["new  IINN"]


@pytest.mark.django_db
@pytest.mark.parametrize("words", [[], [NOBODY, "--failed"], [NOBODY, "--symbol", "A"], ["--failed", "--symbol", "?"]])
def test_retry_job_wants_either_ids_or_a_choice(words):
    assert refused("retry_job", *words).returncode == 2


@pytest.mark.django_db
def test_reprioritise_job_changes_priority_and_queue_of_what_waits():
    job = new_job("AAPL")
    assert call("reprioritise_job", str(job.pk), "5").startswith("AAPL: pending, priority 5 in background_fetch, ")
    call("reprioritise_job", str(job.pk), "5")
    refusal = refused("reprioritise_job", str(job.pk), "8")
    assert (refusal.returncode, "cannot have priority 8" in str(refusal)) == (1, True)
    Job.objects.filter(pk=job.pk).update(status="running")
    refusal = refused("reprioritise_job", str(job.pk), "1")
    assert refusal.returncode == 1
    assert str(refusal) == f"job {job.pk} is running; only the priority of a waiting job can be changed"
    for priority in ("0", "11", "high", "²"):
        assert refused("reprioritise_job", str(job.pk), priority).returncode == 2


@pytest.mark.django_db
def test_scheduled_portfolio_update_asks_for_what_is_stale_in_batches(user, hold):
    hold(user, "AAPL", "MSFT")
    Stock.objects.filter(symbol="MSFT").update(checked_at=timezone.now())
    first, second = call("scheduled_portfolio_update").splitlines()
    assert first == "Scheduled portfolio update: queued a batch of 1."
    assert second.startswith("a batch of 1: pending, priority 5 in background_fetch, requested by system (id ")
    assert Job.objects.get().parameters["symbols"] == ["AAPL"]
    assert call("scheduled_portfolio_update") == "Scheduled portfolio update: nothing to fetch.\n"


@pytest.mark.django_db(transaction=True)
def test_scheduled_portfolio_update_ends_with_0_for_cron(user, hold, yahoo, configuration_file):
    yahoo.serve("AAPL")
    hold(user, "AAPL")
    direct = configuration_file(**{"queue.backend": "direct"})
    done = run("scheduled_portfolio_update", STOCKQUEUE_CONFIG=str(direct), **yahoo.server.environment)
    assert done.returncode == 0, done.stderr
    assert Job.objects.get().status == "completed"


@pytest.mark.django_db(transaction=True)
def test_job_stats_shows_each_figure(user, hold, new_redis, point_to):
    point_to(new_redis.url)  # no worker takes its jobs
    hold(user, "AAPL", "MSFT", "IINN", "GONE")
    now = timezone.now()
    Stock.objects.filter(symbol="AAPL").update(checked_at=now)
    Stock.objects.filter(symbol="GONE").update(checked_at=now, status=Stock.Status.DELISTED)
    Stock.objects.filter(symbol="MSFT").update(checked_at=now - timedelta(hours=5))
    waiting = request_fetches([Stock.objects.get(symbol="IINN")], Job.Trigger.USER_LOGIN, user).created[0]
    Job.objects.filter(pk=waiting.pk).update(created_at=now - timedelta(minutes=2))
    running = new_job("BUSY")
    assert lifecycle.claim(running.pk, "worker@here") is not None
    for symbol, seconds in (("A", 1), ("B", 3)):
        new_job(symbol, "completed", outcome="updated", started_at=now - timedelta(seconds=seconds), finished_at=now)
    for symbol in ("ZZTOP", "C"):
        error = f"Yahoo Finance has no data for {symbol}"
        new_job(symbol, "failed", error=error, started_at=now - timedelta(seconds=9), finished_at=now)
    old = now - timedelta(days=2)
    new_job("OLD", "failed", error="long ago", started_at=old, finished_at=old, created_at=old)
    new_worker("idle@here:1")
    new_worker("lost@here:2", heartbeat_at=now - timedelta(minutes=5))
    new_worker("ended@here:3", stopped_at=now)

    figures = json.loads(call("job_stats", "--json"))
    depths = {row.pop("priority"): row for row in figures["depths"]}
    assert list(depths) == list(range(1, 11))
    assert depths[1] == {"queue": "foreground", "pending": 0, "queued": 1, "running": 0}
    assert depths[3] == {"queue": "foreground", "pending": 0, "queued": 0, "running": 1}
    foreground = figures["queues"][0]
    assert foreground["queue"] == "foreground"
    assert foreground["waiting"] == 1
    assert 120 <= foreground["oldest_wait"] < 180
    assert foreground["broker_messages"] >= 1
    (times,) = figures["processing_times"]
    assert (times["job_type"], times["jobs"], times["p50"], times["p95"]) == ("stock_fetch", 4, 3.0, 9.0)
    assert figures["ends"] == [
        {"status": "completed", "outcome": "updated", "jobs": 2},
        {"status": "failed", "outcome": "", "jobs": 2},
    ]
    assert figures["failures"] == [{"status": "failed", "reason": "Yahoo Finance has no data", "jobs": 2}]
    worker = figures["workers"][0]
    assert (worker["worker_id"], worker["running"], worker["state"]) == ("worker@here", 1, "")
    assert worker["heartbeat_age"] < 60
    idle = {row["worker_id"]: row["state"] for row in figures["workers"][1:]}
    assert idle == {"idle@here:1": "alive", "lost@here:2": "gone"}
    (busy,) = figures["running"]
    assert (busy["worker_id"], busy["job_id"], busy["subject"]) == ("worker@here", str(running.pk), "BUSY")
    assert busy["requesters"] == ["system"]
    assert busy["heartbeat_age"] < 60
    fresh = figures["freshness"]
    assert [fresh[name] for name in ("fresh", "stale", "never", "parked")] == [1, 2, 1, 1]
    assert [stock["symbol"] for stock in fresh["worst"]] == ["IINN", "MSFT"]
    (covered,) = figures["coverage"]["worst"]
    assert (covered["user"], covered["holdings"], covered["fresh"], covered["share"]) == (user.username, 4, 1, 0.25)
    assert figures["outbox"]["unpublished"] > 7

    shown = call("job_stats")
    for text in ("Held stocks: 1 fresh, 2 stale (1 never checked), 1 parked", "worker@here", "25%", "2 min"):
        assert text in shown


@pytest.mark.django_db
def test_job_stats_says_that_the_broker_does_not_answer_and_works_on_an_empty_database(point_to):
    point_to("redis://127.0.0.1:1/0")
    shown = call("job_stats")
    assert shown.count("does not answer") == 3
    figures = json.loads(call("job_stats", "--json"))
    assert [queue["broker_messages"] for queue in figures["queues"]] == [None, None, None]
    assert figures["outbox"] == {"unpublished": 0, "oldest_age": None, "set_aside": 0}


@pytest.mark.parametrize("words", [("fetch_stock", "AAPL"), ("job_stats",), ("scheduled_portfolio_update",)])
def test_a_database_that_was_not_migrated_is_told_in_one_line(words, tmp_path):
    done = run(*words, DATABASE_URL=f"sqlite:///{tmp_path}/new.sqlite3", STOCKQUEUE_VAR=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "database: no such table: market_stock; run python manage.py migrate to update it\n"


def test_a_database_that_is_away_is_told_in_one_line_and_in_full_where_that_is_asked_for():
    away = f"postgres://127.0.0.1:{free_port()}/stockqueue"
    done = run("fetch_stock", "AAPL", DATABASE_URL=away)
    assert done.returncode == 1
    assert re.fullmatch(r"database: connection failed: .*Connection refused\n", done.stderr)
    assert "Traceback" in run("fetch_stock", "AAPL", "--traceback", DATABASE_URL=away).stderr
