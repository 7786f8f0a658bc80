"""The system's clock is set while jobs wait and run."""

import time
from datetime import timedelta

import pytest
from celery.app.task import Context
from django.db.models import F
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from market.jobs.requests import request_fetches
from market.models import Stock
from operations.local.child_processes import wait_until
from tasks.models import Job, ScheduleRun
from tasks.state import lifecycle
from tasks.upkeep import sweeper
from tasks.upkeep.schedule_slots import run_once_a_slot
from tests.conftest import output_of
from tests.faults.steps import BEAT

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


@pytest.fixture
def jobs(monkeypatch) -> tuple[Job, Job]:
    """One that the broker has, and one that runs."""
    monkeypatch.setattr(sweeper, "_clock", sweeper._ClockWatch())
    stocks = [Stock.objects.create(symbol=symbol) for symbol in ("AAPL", "MSFT")]
    waiting, running = request_fetches(stocks, Job.Trigger.USER_REQUEST).created
    lifecycle.mark_queued([waiting.pk])
    assert lifecycle.claim(running.pk, "worker") is not None
    return waiting, running


@pytest.fixture
def set_clock(monkeypatch):
    """set_clock(by): as if the clocks of this process and of the database were set forward, or back."""
    now, seconds = timezone.now, time.time

    def set_clock(by: timedelta) -> None:
        monkeypatch.setattr(timezone, "now", lambda: now() + by)
        monkeypatch.setattr(time, "time", lambda: seconds() + by.total_seconds())
        Job.objects.update(heartbeat_at=F("heartbeat_at") - by)

    return set_clock


def statuses() -> dict[str, str]:
    return dict(Job.objects.values_list("symbol", "status"))


@pytest.mark.parametrize("by", [HOUR, -HOUR], ids=["forward", "back"])
def test_nothing_is_given_up_when_the_clock_jumps_an_hour(jobs, set_clock, caplog, by):
    sweeper.sweep()
    set_clock(by)
    sweeper.sweep()
    sweeper.sweep()
    assert statuses() == {"AAPL": "queued", "MSFT": "running"}
    assert f"the clock jumped by {by.total_seconds():.0f} s" in caplog.text


def test_what_is_an_hour_old_without_a_jump_is_given_up(jobs):
    Job.objects.update(heartbeat_at=F("heartbeat_at") - HOUR, queued_at=F("queued_at") - HOUR)
    sweeper.sweep()
    assert statuses() == {"AAPL": "expired", "MSFT": "pending"}
    assert Job.objects.get(symbol="MSFT").error.startswith("worker worker was lost")


def test_a_job_whose_worker_died_before_the_clock_was_set_back_is_given_up(jobs):
    Job.objects.update(heartbeat_at=F("heartbeat_at") + HOUR)
    sweeper.sweep()
    assert statuses() == {"AAPL": "queued", "MSFT": "pending"}


def test_a_slot_that_was_used_up_while_the_clock_was_ahead_is_done_again_in_its_time():
    by_beat = Context({"periodic_task_name": "Scheduled portfolio update", "celery_beat_task": True})

    def run() -> str:
        return run_once_a_slot(by_beat, lambda: "done")

    assert run() == "done"
    assert "has already run" in run()
    ScheduleRun.objects.update(ran_at=F("ran_at") + HOUR)
    assert run() == "done"
    assert "has already run" in run()


def test_the_clock_is_trusted_again_once_it_has_not_jumped_for_a_while(monkeypatch):
    clock = sweeper._ClockWatch()
    seconds, counted = time.time, time.monotonic
    assert clock.is_settled(45)
    monkeypatch.setattr(time, "time", lambda: seconds() + 3600)
    assert not clock.is_settled(45)
    monkeypatch.setattr(time, "time", lambda: seconds() + 3644)
    monkeypatch.setattr(time, "monotonic", lambda: counted() + 44)
    assert not clock.is_settled(45)
    monkeypatch.setattr(time, "time", lambda: seconds() + 3646)
    monkeypatch.setattr(time, "monotonic", lambda: counted() + 46)
    assert clock.is_settled(45)


def sent(beat) -> int:
    """How many sweeps it has sent so far."""
    return output_of(beat).count("Sending due task Sweep")


def test_beat_that_starts_after_its_clock_was_set_back_sends_at_once(transactional_db, new_redis, start):
    PeriodicTask.objects.update(last_run_at=timezone.now() + HOUR)
    with start(*BEAT, "--loglevel", "DEBUG", ready="beat: Starting", CELERY_BROKER_URL=new_redis.url) as beat:
        wait_until(lambda: sent(beat) >= 2, "two sweeps", process=beat, timeout=60)
    assert not PeriodicTask.objects.filter(last_run_at__gt=timezone.now() + timedelta(minutes=5)).exists()


def test_beat_goes_on_sending_when_its_clock_is_set_back(transactional_db, new_redis, start, tmp_path):
    clock = tmp_path / "ahead"
    clock.write_text("3600")
    command = [word.replace("stockqueue", "tests.faults.set_clock") for word in BEAT]
    environment = {"CELERY_BROKER_URL": new_redis.url, "CLOCK_AHEAD": str(clock)}
    with start(*command, "--loglevel", "DEBUG", ready="Sending due task Sweep", **environment) as beat:
        clock.write_text("0")
        before = sent(beat)
        wait_until(lambda: sent(beat) >= before + 2, "two sweeps", process=beat, timeout=60)
        assert "Sweep ran at" in output_of(beat)
    assert not PeriodicTask.objects.filter(last_run_at__gt=timezone.now() + timedelta(minutes=5)).exists()
