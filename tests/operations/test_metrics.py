"""What /metrics tells is held against states that are made by hand."""

import json
import re
import subprocess
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from prometheus_client.parser import text_string_to_metric_families

from market.models import SourceState, SourceUse, Stock
from mqtt_bridge.leadership import Lease
from mqtt_bridge.models import BridgeLease
from portfolio.fetching import fetch_stale_holdings
from portfolio.models import Login
from tasks.models import Job, JobEvent, JobRequest
from tests.conftest import ROOT
from tests.support.jobs import new_job
from tests.support.prometheus import fill
from tests.support.servers import find_server
from tests.support.workers import new_worker

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("database_answers")]

Read = Callable[..., float | None]


@pytest.fixture
def read(client) -> Callable[[], Read]:
    """read(): what /metrics says now, as a function of a metric's name and labels; None for what is not told."""

    def read() -> Read:
        answer = client.get("/metrics")
        assert answer.status_code == 200, answer.content
        samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(answer.content.decode())
            for sample in family.samples
        }
        return lambda name, /, **labels: samples.get((f"stockqueue_{name}", frozenset(labels.items())))

    return read


def sql(query: str, *parameters: Any) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        return cursor.fetchone()[0]


def ran(symbol: str, *, status: str = "completed", wait: float = 1, took: float = 2, ago: float = 60, **fields: Any):
    """A job that ended `ago` seconds ago, `took` seconds after its start."""
    ended = timezone.now() - timedelta(seconds=ago)
    started = ended - timedelta(seconds=took)
    queued = started - timedelta(seconds=wait)
    times = {"queued_at": queued, "started_at": started, "finished_at": ended}
    return new_job(symbol, status, **(times | fields))


def test_depth_is_told_for_each_queue_priority_and_state(read, user):
    new_job("A", user=user)
    new_job("B", priority=1)
    new_job("C", priority=1)
    new_job("D", "queued")
    new_job("E", "running", queue="background_fetch", priority=5)
    new_job("F", "completed")
    metric = read()
    assert metric("jobs", queue="foreground", priority="1", state="pending") == 2
    assert metric("jobs", queue="foreground", priority="3", state="pending") == 1
    assert metric("jobs", queue="foreground", priority="3", state="queued") == 1
    assert metric("jobs", queue="background_fetch", priority="5", state="running") == 1
    assert metric("jobs", queue="background_analysis", priority="10", state="queued") == 0
    everything = sql("SELECT COUNT(*) FROM tasks_job WHERE status IN ('pending', 'queued', 'running')")
    assert sum(metric("jobs", **labels) or 0 for labels in _all_depths()) == everything == 5


def _all_depths() -> list[dict[str, str]]:
    bands = {"foreground": (1, 4), "background_fetch": (4, 7), "background_analysis": (7, 11)}
    return [
        {"queue": queue, "priority": str(priority), "state": state}
        for queue, band in bands.items()
        for priority in range(*band)
        for state in ("pending", "queued", "running")
    ]


def test_the_oldest_waiting_job_of_each_queue_is_told(read):
    new_job("A", created_at=timezone.now() - timedelta(minutes=12))
    new_job("B", "queued", created_at=timezone.now() - timedelta(minutes=5))
    new_job("C", "running", created_at=timezone.now() - timedelta(hours=5))
    metric = read()
    assert metric("oldest_waiting_job_age_seconds", queue="foreground") == pytest.approx(720, abs=10)
    assert metric("oldest_waiting_job_age_seconds", queue="background_fetch") == 0


def test_wait_and_processing_times_are_those_of_the_last_hour_by_type(read):
    for number in range(1, 21):
        ran(f"S{number}", wait=number, took=10 * number)
    ran("OLD", took=9999, ago=3700)
    ran("CUT", status="cancelled", took=9999)
    ran("NEVER", status="expired", started_at=None)
    ran("ANALYSED", job_type="stock_analysis", status="failed", wait=0.5, took=7)
    metric = read()
    fetch = {"job_type": "stock_fetch"}
    assert metric("job_wait_seconds", percentile="50", **fetch) == pytest.approx(10, abs=0.01)
    assert metric("job_wait_seconds", percentile="95", **fetch) == pytest.approx(19, abs=0.01)
    assert metric("job_processing_seconds", percentile="50", **fetch) == pytest.approx(100, abs=0.01)
    assert metric("job_processing_seconds", percentile="95", **fetch) == pytest.approx(190, abs=0.01)
    assert metric("job_wait_seconds", percentile="50", job_type="stock_analysis") == pytest.approx(0.5, abs=0.01)
    assert metric("job_processing_seconds", percentile="95", job_type="stock_analysis") == pytest.approx(7, abs=0.01)
    assert metric("job_processing_seconds", percentile="95", job_type="stock_batch_fetch") is None
    assert metric("ended_jobs", status="completed", **fetch) == 20
    assert metric("ended_jobs", status="expired", **fetch) == 1
    assert metric("ended_jobs", status="failed", job_type="stock_analysis") == 1
    assert metric("ended_jobs", status="failed", job_type="stock_research") == 0


@pytest.mark.skipif("config.getoption('database') != 'postgresql'", reason="SQLite has no percentiles")
def test_percentiles_are_those_of_postgresql(read):
    for number in range(37):
        ran(f"S{number}", took=(number * 7919) % 101 / 3)
    metric = read()
    for percentile in (50, 95):
        expected = sql(
            "SELECT percentile_disc(%s) WITHIN GROUP (ORDER BY EXTRACT(EPOCH FROM finished_at - started_at))"
            " FROM tasks_job",
            percentile / 100,
        )
        found = metric("job_processing_seconds", job_type="stock_fetch", percentile=str(percentile))
        assert found == pytest.approx(float(expected), abs=0.01)


def logged_in(user, jobs: list[Job], *, ago: float, apart: float = 0) -> None:
    """The user's login, which asked for these jobs, one every `apart` seconds."""
    for number, job in enumerate(jobs):
        moment = timezone.now() - timedelta(seconds=ago - number * apart)
        request = JobRequest.objects.create(job=job, user=user, trigger="user_login")
        JobRequest.objects.filter(pk=request.pk).update(created_at=moment)


def test_a_login_takes_from_its_first_request_to_the_end_of_its_last_job(read, user):
    # Of two jobs that it made and one that it joined, the last ended 30 s after the login.
    jobs = [ran("A", ago=595), ran("B", ago=570), ran("JOINED", ago=580, trigger="scheduled_update")]
    logged_in(user, jobs, ago=600, apart=0.01)
    # The same user's next one, five minutes later, took 4 s, and did not ask for what was fresh.
    logged_in(user, [ran("A", ago=296)], ago=300)
    metric = read()
    assert metric("logins", result="fresh") == 2
    assert metric("login_to_fresh_seconds", percentile="50") == pytest.approx(4, abs=0.5)
    assert metric("login_to_fresh_seconds", percentile="95") == pytest.approx(30, abs=0.5)


def test_two_users_who_log_in_at_the_same_time_are_two_logins(read, user, django_user_model):
    other = django_user_model.objects.create_user("other")
    job = ran("A", ago=90)
    logged_in(user, [job], ago=100)
    logged_in(other, [job], ago=98)
    assert read()("logins", result="fresh") == 2


def test_a_login_with_a_failure_or_old_bars_is_incomplete_and_one_that_waits_is_told_apart(read, user):
    logged_in(user, [ran("A"), ran("B", status="failed")], ago=1000)
    logged_in(user, [ran("C"), ran("D", result={"source": "cached"})], ago=900)
    logged_in(user, [ran("E"), new_job("F", "running")], ago=800)
    logged_in(user, [ran("G", ago=3000)], ago=3700)  # over an hour ago
    metric = read()
    assert [metric("logins", result=result) for result in ("fresh", "incomplete", "waiting")] == [0, 2, 1]
    assert metric("login_to_fresh_seconds", percentile="95") is None


def test_requests_of_others_than_logins_are_no_logins(read, user):
    ran("A", user=user)
    assert read()("logins", result="fresh") == 0


def test_the_share_of_instant_logins_is_that_of_the_last_day(read, user, hold):
    assert (read()("logins_last_day"), read()("instant_logins_ratio")) == (0, None)
    hold(user, "AAPL", "MSFT")
    fetch_stale_holdings(user)
    assert (read()("logins_last_day"), read()("instant_logins_ratio")) == (1, 0)
    Stock.objects.update(checked_at=timezone.now())
    for _ in range(3):
        fetch_stale_holdings(user)
    Login.objects.create(at=timezone.now() - timedelta(hours=24, minutes=1), stocks=1, stale=1)
    Login.objects.create(at=timezone.now() - timedelta(hours=23), stocks=9, stale=1)
    assert (read()("logins_last_day"), read()("instant_logins_ratio")) == (5, 0.6)


def test_workers_their_processes_and_how_many_are_busy_are_told(read):
    new_worker("one@here:1", concurrency=4)
    new_worker("two@here:2", concurrency=2)
    new_worker("gone@here:3", heartbeat_at=timezone.now() - timedelta(minutes=5), concurrency=8)
    new_worker("stopped@here:4", stopped_at=timezone.now(), concurrency=8)
    for symbol, worker in (("A", "one@here:1"), ("B", "one@here:1"), ("C", "two@here:2"), ("D", "gone@here:3")):
        new_job(symbol, "running", worker_id=worker)
    new_job("E", "running", worker_id="direct@here:5")
    metric = read()
    assert (metric("workers", state="alive"), metric("workers", state="gone")) == (2, 1)
    assert (metric("worker_processes"), metric("worker_processes_busy")) == (6, 3)
    assert metric("worker_utilisation_ratio") == 0.5


def test_a_cohort_keeps_one_process_busy(read):
    new_worker("one@here:1", concurrency=4)
    message = uuid4()
    for symbol in ("A", "B", "C"):
        new_job(symbol, "running", worker_id="one@here:1", claimed_with=message)
    new_job("D", "running", worker_id="one@here:1", claimed_with=uuid4())
    metric = read()
    assert metric("worker_processes_busy") == 2
    assert metric("worker_utilisation_ratio") == 0.5


def test_without_workers_or_attempts_there_are_no_ratios(read):
    metric = read()
    assert metric("worker_processes") == 0
    assert metric("worker_utilisation_ratio") is None
    assert metric("worker_efficiency_ratio") is None
    assert metric("coverage_ratio") is None


def test_efficiency_is_the_share_of_attempts_that_succeeded(read):
    for symbol in "ABCDE":
        ran(symbol)
    ran("F", retries=2)  # two failures before it succeeded
    ran("G", status="failed", retries=1)  # two failures
    ran("H", status="expired")
    ran("I", status="cancelled")
    ran("J", status="failed", ago=3700)
    new_job("K", "pending", retries=2)
    succeeded = sql("SELECT COUNT(*) FROM tasks_job WHERE status = 'completed'")
    failed = sql("SELECT SUM(retries) FROM tasks_job") + 1
    assert (succeeded, failed) == (6, 6)
    assert read()("worker_efficiency_ratio") == 0.5


def test_held_stocks_their_coverage_and_the_longest_stale_one_are_told(read, user, hold, django_user_model):
    now = timezone.now()
    hold(user, "FRESH", "STALE", "OLDER", "NEVER", "PARKED")
    hold(django_user_model.objects.create_user("other"), "FRESH")
    Stock.objects.create(symbol="NOBODYS", checked_at=now - timedelta(days=9))
    for symbol, minutes in (("FRESH", 1), ("STALE", 60), ("OLDER", 180), ("PARKED", 9000)):
        Stock.objects.filter(symbol=symbol).update(checked_at=now - timedelta(minutes=minutes))
    Stock.objects.filter(symbol="PARKED").update(status="unknown")
    metric = read()
    states = ("fresh", "stale", "never", "parked")
    assert [metric("held_stocks", state=state) for state in states] == [1, 2, 1, 1]
    assert sum(metric("held_stocks", state=state) or 0 for state in states) == sql(
        "SELECT COUNT(DISTINCT stock_id) FROM portfolio_holding"
    )
    assert metric("stale_stock_age_seconds") == pytest.approx(180 * 60, abs=10)
    assert metric("coverage_ratio") == pytest.approx(0.2)


def test_a_sources_budget_and_its_pause_are_told(read, configured):
    configured(
        **{"stock_jobs.data_fetch.rate_limit": 60, "stock_jobs.data_fetch.sources": ["yahoo_finance", "cached"]}
    )
    now = timezone.now()
    for seconds, requests in ((5, 3), (50, 4), (90, 100)):
        SourceUse.objects.create(
            source="yahoo_finance", granted_at=now - timedelta(seconds=seconds), requests=requests
        )
    yahoo = {"source": "yahoo_finance"}
    metric = read()
    assert (metric("source_requests", **yahoo), metric("source_requests_limit", **yahoo)) == (7, 60)
    assert metric("source_cooldown_end_timestamp_seconds", **yahoo) == 0
    until = now + timedelta(minutes=5)
    SourceState.objects.create(source="yahoo_finance", cooldown_until=until)
    assert read()("source_cooldown_end_timestamp_seconds", **yahoo) == pytest.approx(until.timestamp(), abs=0.01)


def test_what_waits_in_the_outbox_and_what_was_set_aside_is_told(read):
    for symbol in "ABCD":
        new_job(symbol)
    events = list(JobEvent.objects.order_by("id"))
    JobEvent.objects.filter(pk=events[0].pk).update(
        published_at=timezone.now(), created_at=timezone.now() - timedelta(hours=1)
    )
    JobEvent.objects.filter(pk=events[1].pk).update(error="too large", created_at=timezone.now() - timedelta(hours=1))
    JobEvent.objects.filter(pk=events[2].pk).update(created_at=timezone.now() - timedelta(minutes=4))
    metric = read()
    assert metric("outbox_events", state="waiting") == len(events) - 2
    assert metric("outbox_events", state="set_aside") == 1
    assert metric("outbox_oldest_age_seconds") == pytest.approx(240, abs=10)


def test_when_bridge_and_beat_gave_their_last_sign_of_life_is_told(read):
    metric = read()
    assert metric("bridge_last_seen_age_seconds") is None
    assert metric("beat_last_seen_age_seconds") is None
    assert Lease().acquire()
    assert read()("bridge_last_seen_age_seconds") == pytest.approx(0, abs=5)
    now = timezone.now()
    BridgeLease.objects.update(renewed_at=now - timedelta(minutes=3))
    PeriodicTask.objects.filter(task="stockqueue.sweep").update(last_run_at=now - timedelta(minutes=7))
    PeriodicTask.objects.filter(task="stockqueue.cleanup").update(last_run_at=now, enabled=False)
    metric = read()
    assert metric("bridge_last_seen_age_seconds") == pytest.approx(180, abs=5)
    assert metric("beat_last_seen_age_seconds") == pytest.approx(420, abs=5)


def test_a_sign_of_life_from_the_future_is_not_one_of_now(read):
    """A clock was set back since then, or is ahead."""
    assert Lease().acquire()
    BridgeLease.objects.update(renewed_at=timezone.now() + timedelta(minutes=3))
    PeriodicTask.objects.filter(task="stockqueue.sweep").update(last_run_at=timezone.now() + timedelta(hours=1))
    metric = read()
    assert metric("bridge_last_seen_age_seconds") == pytest.approx(180, abs=5)
    assert metric("beat_last_seen_age_seconds") == pytest.approx(3_600, abs=5)


def test_the_thresholds_of_the_configuration_are_told_for_alert_rules(read, configured):
    configured(**{"monitoring.thresholds": {"max_queue_depth": 17, "min_worker_efficiency": 0.5}})
    metric = read()
    assert metric("threshold", name="max_queue_depth") == 17
    assert metric("threshold", name="min_worker_efficiency") == 0.5
    assert metric("threshold", name="max_job_age") == 600


FAMILIES = {
    "queue_depth": {"jobs", "oldest_waiting_job_age_seconds"},
    "fetch_latency": {"job_wait_seconds", "job_processing_seconds"},
    "portfolio_timing": {"logins", "login_to_fresh_seconds", "logins_last_day", "instant_logins_ratio"},
    "worker_efficiency": {"worker_utilisation_ratio", "worker_efficiency_ratio"},
}


@pytest.mark.parametrize("switch", FAMILIES)
def test_a_family_that_is_switched_off_is_left_out(client, configured, switch):
    names = names_in(client)
    configured(**{f"monitoring.stock_metrics.{switch}": False})
    assert names - names_in(client) == {f"stockqueue_{name}" for name in FAMILIES[switch]}


def names_in(client) -> set[str]:
    return set(re.findall(r"^# TYPE (\S+) gauge$", client.get("/metrics").content.decode(), re.MULTILINE))


def test_json_has_the_same_figures_and_each_held_stock(client, configured, user, hold, read):
    hold(user, "AAPL", "MSFT")
    Stock.objects.filter(symbol="AAPL").update(checked_at=timezone.now() - timedelta(seconds=30))
    new_job("IINN", "queued")
    names, metric = names_in(client), read()
    configured(**{"monitoring.format": "json"})
    answer = client.get("/metrics")
    assert answer["Content-Type"] == "application/json"
    body = json.loads(answer.content)
    assert body["schema"] == "stockqueue.metrics/1"
    assert body["timestamp"] == pytest.approx(timezone.now().timestamp(), abs=10)
    assert set(body["metrics"]) == names
    labels = {"queue": "foreground", "priority": "3", "state": "queued"}
    assert {"labels": labels, "value": 1} in body["metrics"]["stockqueue_jobs"]
    assert metric("jobs", **labels) == 1
    assert body["symbols"]["MSFT"] == {"state": "never", "age": None}
    assert body["symbols"]["AAPL"] == {"state": "fresh", "age": pytest.approx(30, abs=10)}


def test_no_symbol_user_or_worker_is_a_label(client, user, hold):
    hold(user, "SECRETSYMBOL")
    logged_in(user, [ran("SECRETSYMBOL")], ago=100)
    new_worker("secretworker@here:1")
    text = client.get("/metrics").content.decode()
    for word in ("SECRETSYMBOL", user.username, "secretworker"):
        assert word not in text


def test_the_number_of_queries_does_not_grow(client, user, hold):
    def ask_with(*symbols: str) -> int:
        hold(user, *symbols)
        logged_in(user, [ran(symbol) for symbol in symbols], ago=100)
        for symbol in symbols:
            Login.objects.create(at=timezone.now(), stocks=1, stale=0)
            new_job(symbol, "running", worker_id=f"{symbol}@here:1")
            new_worker(f"{symbol}@here:1")
        with CaptureQueriesContext(connection) as queries:
            client.get("/metrics")
        return len(queries)

    few = ask_with("ONE")
    assert ask_with(*(f"S{number}" for number in range(40))) == few < 25


def test_promtool_finds_nothing_to_correct(client, user, hold):
    fill(user, hold)
    text = client.get("/metrics").content
    checked = subprocess.run([find_server("promtool"), "check", "metrics"], input=text, capture_output=True)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_the_table_in_the_documentation_has_each_metric_with_its_type_labels_and_unit(client, user, hold):
    fill(user, hold)
    documented = re.findall(
        r"^\| `(stockqueue_\w+)` \| (\w+) \|([^|]*)\|.*\| ([^|]+) \|$",
        (ROOT / "docs" / "operations.md").read_text(),
        re.MULTILINE,
    )
    found = {
        (family.name, family.type, tuple(sorted(family.samples[0].labels)))
        for family in text_string_to_metric_families(client.get("/metrics").content.decode())
    }
    table = {(name, kind, tuple(sorted(re.findall(r"`(\w+)`", labels)))) for name, kind, labels, _unit in documented}
    assert table == found
    for name, _, _, unit in documented:
        assert name.endswith("_seconds") == ("seconds" in unit), name
        assert name.endswith("_ratio") == (unit == "0 to 1"), name


def test_a_lost_worker_whose_name_came_back_counts_no_more(read):
    new_worker("one@here:1", heartbeat_at=timezone.now() - timedelta(minutes=5))
    assert read()("workers", state="gone") == 1
    new_worker("two@here:2")
    assert read()("workers", state="gone") == 1
    new_worker("one@here:3", stopped_at=timezone.now())  # in good order: there is none to be missed
    assert read()("workers", state="gone") == 0
