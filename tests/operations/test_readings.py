"""The figures of each minute: written once, by whoever checks alerts, and read as the worst of a time."""

import random
import threading
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from market.models import SourceUse, Stock
from operations.local.child_processes import wait_until
from operations.models import Reading
from operations.monitoring import alert_delivery, alerts, metrics, readings
from operations.monitoring.readings import Period, history
from portfolio.models import Login
from tasks.models import Job, JobRequest
from tasks.priority import BANDS
from tests.support.jobs import new_job

pytestmark = pytest.mark.django_db(transaction=True)

MINUTE = timedelta(minutes=1)


@pytest.fixture
def busy(user, hold, configured) -> None:
    """A system of which every figure has a value."""
    configured(**{"stock_jobs.data_fetch.sources": ["yahoo_finance", "cached"]})
    hold(user, "HELD", "OTHER", "THIRD", "FOURTH")
    Stock.objects.filter(symbol="HELD").update(checked_at=timezone.now())
    now = timezone.now()
    for number, (queue, band) in enumerate(BANDS.items(), start=1):
        for priority in band[:number]:
            moment = now - timedelta(minutes=10 * number)
            new_job(f"P{priority}", queue=queue, priority=priority, created_at=moment)
    new_job("RUNS", "running")
    for number, job_type in enumerate(Job.Type.values, start=1):
        times: dict[str, Any] = {
            "queued_at": now - timedelta(seconds=60),
            "started_at": now - timedelta(seconds=60 - number),
        }
        job = new_job(f"T{number}", "completed", job_type=job_type, finished_at=now, **times)
        JobRequest.objects.create(job=job, user=user, trigger="user_login", created_at=now - timedelta(seconds=90))
    for status in ("failed", "expired", "cancelled"):
        new_job(status.upper(), status)
    SourceUse.objects.create(source="yahoo_finance", granted_at=now, requests=7)
    Login.objects.bulk_create(Login(at=now, stocks=4, stale=stale) for stale in (0, 0, 1, 0))


def test_a_check_of_alerts_writes_down_what_the_metrics_say(busy):
    alerts.check()
    reading = Reading.objects.get()
    assert (reading.waiting_foreground, reading.waiting_background_fetch, reading.waiting_background_analysis) == (
        1,
        2,
        3,
    )
    assert reading.oldest_waiting == pytest.approx(1800, abs=60)
    assert (reading.completed, reading.failed, reading.expired, reading.cancelled) == (4, 1, 1, 1)
    waits = [reading.wait_stock_fetch, reading.wait_stock_batch_fetch, reading.wait_stock_analysis]
    assert waits == pytest.approx([1, 2, 3], abs=0.01)
    runs = [reading.run_stock_batch_fetch, reading.run_stock_analysis, reading.run_stock_research]
    assert runs == pytest.approx([58, 57, 56], abs=0.01)
    assert [reading.login_p50, reading.login_p95] == pytest.approx([90, 90], abs=0.1)
    assert (reading.coverage, reading.instant_logins) == (0.25, 0.75)
    assert reading.requests == {"yahoo_finance": 7}
    assert reading.minute == int(reading.at.timestamp()) // 60


def test_every_figure_is_one_that_a_metric_has(busy):
    readings.keep(metrics.samples(timezone.now()), timezone.now())
    reading = Reading.objects.get()
    empty = [field.name for field in Reading._meta.fields if getattr(reading, field.name) is None]
    assert empty == []
    (point,) = [point for point in history(Period.HOUR, reading.at) if point.figures]
    assert {name for name, value in point.figures.items() if value is None} == set()


def test_a_minute_is_written_down_once_and_the_first_time_counts():
    new_job("A")
    now = timezone.now().replace(second=1)
    alerts.check(now)
    new_job("B")
    alerts.check(now + timedelta(seconds=30))
    assert Reading.objects.get().waiting_foreground == 1
    alerts.check(now + MINUTE)
    assert list(Reading.objects.order_by("minute").values_list("waiting_foreground", flat=True)) == [1, 2]


def test_processes_that_check_at_the_same_time_write_one_down():
    now, results, together = timezone.now(), [], threading.Barrier(4)

    def check() -> None:
        try:
            together.wait(30)
            results.append(alerts.check(now))
        finally:
            connection.close()

    threads = [threading.Thread(target=check) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(results) == 4
    assert Reading.objects.count() == 1


def test_the_bridge_writes_too_when_beat_is_silent():
    time = [0.0]
    watch = alert_delivery.Watch(clock=lambda: time[0])
    time[0] = alert_delivery.CHECK + 1
    watch.due()
    wait_until(Reading.objects.exists, "the reading")


def test_nothing_is_written_where_monitoring_is_off(configured):
    configured(**{"monitoring.enabled": False})
    alerts.check()
    assert not Reading.objects.exists()


def test_what_is_switched_off_or_was_not_there_is_empty_and_not_zero(busy, configured):
    configured(**{"monitoring.stock_metrics": {"queue_depth": False, "portfolio_timing": False}})
    alerts.check()
    reading = Reading.objects.get()
    assert (reading.waiting_foreground, reading.oldest_waiting) == (None, None)
    assert (reading.login_p50, reading.instant_logins) == (None, None)
    assert reading.completed == 4


def write(minute: int, **figures: Any) -> None:
    Reading.objects.create(minute=minute, at=timezone.now(), **figures)


def test_a_point_is_the_worst_of_its_time_and_empty_where_nobody_measured():
    now = timezone.now()
    last = int(now.timestamp()) // 60
    hour = last // 60 * 60
    write(hour - 60, waiting_foreground=3, coverage=0.9, instant_logins=0.5, requests={"yahoo_finance": 9})
    write(hour - 59, waiting_foreground=8, coverage=0.4, instant_logins=0.8)
    write(hour - 1, waiting_foreground=5, requests={"yahoo_finance": 30, "gone": 99})
    points = history(Period.WEEK, now)
    point = points[-2]
    assert int(point.start.timestamp()) // 60 == hour - 60
    assert (point.figures["waiting_foreground"], point.figures["coverage"]) == (8, 0.4)
    assert point.figures["instant_logins"] == 0.5
    assert point.figures["requests_yahoo_finance"] == 30
    assert point.figures["failed"] is None
    assert [bool(point.figures) for point in points].count(True) == 1
    hours = history(Period.HOUR, now)
    assert all(not point.figures for point in hours if point.start < now - timedelta(hours=1))


@pytest.mark.parametrize("period", Period)
def test_points_cover_the_period_without_a_hole_and_end_now(period):
    now = timezone.now()
    points = history(period, now)
    starts = [point.start for point in points]
    assert len(points) == period.points
    assert {later - earlier for earlier, later in pairwise(starts)} == {period.step}
    assert starts[-1] <= now < starts[-1] + period.step
    assert period.points * period.step == {"hour": 1, "day": 24, "week": 168}[period.title] * timedelta(hours=1)


@pytest.mark.parametrize("period", Period)
def test_points_agree_with_what_is_computed_minute_by_minute(period):
    now, chance = timezone.now(), random.Random(1)
    last = int(now.timestamp()) // 60
    rows = [
        Reading(minute=minute, at=now, failed=chance.choice([None, *range(50)]), coverage=chance.random())
        for minute in range(last - 9_000, last + 1)
        if chance.random() < 0.9
    ]
    Reading.objects.bulk_create(rows)
    for point in history(period, now):
        first = int(point.start.timestamp()) // 60
        mine = [row for row in rows if first <= row.minute < first + period.minutes]
        if not mine:
            assert point.figures == {}
            continue
        failed = [row.failed for row in mine if row.failed is not None]
        assert point.figures["failed"] == max(failed, default=None)
        assert point.figures["coverage"] == min(row.coverage for row in mine if row.coverage is not None)


def test_a_history_takes_one_query_however_many_readings_there_are():
    now = timezone.now()
    last = int(now.timestamp()) // 60
    with CaptureQueriesContext(connection) as few:
        history(Period.WEEK, now)
    Reading.objects.bulk_create(Reading(minute=last - number, at=now) for number in range(10_080))
    with CaptureQueriesContext(connection) as many:
        points = history(Period.WEEK, now)
    assert len(few) == len(many) == 1
    assert all(point.figures for point in points[1:])


def test_a_clock_that_was_ahead_does_no_harm():
    now = timezone.now()
    write(int(now.timestamp()) // 60 + 500, failed=3)
    assert not any(point.figures for point in history(Period.DAY, now))
