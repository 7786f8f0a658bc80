"""Workers that are asked to end while there is work: they do it or hand it back, and end in time."""

import os
import signal
import time

import pytest

from market.jobs.requests import request_fetches
from market.models import Stock
from operations.local.child_processes import wait_until
from tasks.models import Job
from tests.conftest import WORKER, output_of
from tests.support.gate import Gate, effect_of
from tests.support.invariants import ENDS, check_jobs

pytestmark = pytest.mark.django_db(transaction=True)

# Mingling only costs a second here: it asks the other workers which tasks were revoked.
ANALYST = (*WORKER, "-Q", "background_analysis", "-I", "tests.support.works", "--without-mingle")
SHORT_GRACE = (*ANALYST, "-I", "tests.support.works,tests.faults.short_grace")
IN_TIME = 30.0
"""Seconds from SIGTERM to a worker's end."""

graces = pytest.mark.parametrize(
    "command",
    [pytest.param(SHORT_GRACE, id="short"), pytest.param(ANALYST, id="default", marks=pytest.mark.long)],
)


@pytest.fixture
def gate(tmp_path):
    return Gate(tmp_path / "gate")


def ended() -> int:
    return Job.objects.filter(status__in=ENDS).count()


def wait_for_ends(count: int) -> None:
    wait_until(lambda: ended() >= count, f"the end of {count} jobs", timeout=90)


def seconds_to_end(process, begin: float) -> float:
    process.wait(IN_TIME)
    return time.monotonic() - begin


def test_a_rolling_restart_under_load_loses_no_job(new_redis, point_to, start, yahoo):
    symbols = [f"S{number}" for number in range(70)]
    yahoo.serve(*symbols)
    yahoo.server.latency = 0.15
    point_to(new_redis.url)
    environment = {"CELERY_BROKER_URL": new_redis.url, **yahoo.server.environment}
    stocks = [Stock.objects.create(symbol=symbol) for symbol in symbols]
    with (
        start(*WORKER, ready=" ready.", **environment) as first,
        start(*WORKER, ready=" ready.", **environment) as second,
    ):
        jobs = request_fetches(stocks, Job.Trigger.USER_REQUEST).created
        wait_for_ends(5)
        begin = time.monotonic()
        for _ in range(3):
            first.terminate()
        with start(*WORKER, ready=" ready.", **environment) as third:
            wait_for_ends(ended() + 5)
            second_begin = time.monotonic()
            second.terminate()
            wait_for_ends(ended() + 1)
            second.terminate()
            assert ended() < len(jobs), "there is no load any more"
            assert seconds_to_end(first, begin) < IN_TIME
            assert seconds_to_end(second, second_begin) < IN_TIME
            wait_for_ends(len(jobs))
            third.terminate()
            third.wait(IN_TIME)
    check_jobs(jobs, served=yahoo.server.closes)
    assert set(Job.objects.values_list("status", "attempt")) == {("completed", 1)}


@graces
@pytest.mark.parametrize("times", [pytest.param(1, marks=pytest.mark.long), 3])
def test_a_job_that_takes_longer_than_the_grace_is_handed_back(new_redis, point_to, start, gate, command, times):
    point_to(new_redis.url)
    with start(*command, ready=" ready.", CELERY_BROKER_URL=new_redis.url) as first:
        jobs = gate.request("AAPL", "MSFT")
        behind = gate.request("GOOG", "AMZN")
        for job in jobs:
            gate.wait_for(job, 1)
        begin = time.monotonic()
        for _ in range(times):
            first.terminate()
        seconds = seconds_to_end(first, begin)
        print(f"it ended after {seconds:.1f} s")
        assert seconds < IN_TIME
        handed_back = Job.objects.filter(pk__in=[job.pk for job in jobs])
        assert set(handed_back.values_list("status", "attempt", "retries")) <= {
            ("pending", 1, 0),
            ("queued", 1, 0),
        }
        gate.open(1)
        gate.open(2)
        with start(*ANALYST, ready=" ready.", CELERY_BROKER_URL=new_redis.url):
            wait_for_ends(4)
    check_jobs([*jobs, *behind])
    assert [effect_of(job) for job in (*jobs, *behind)] == ["2", "2", "1", "1"]
    assert {job.retries for job in Job.objects.all()} == {0}


def test_a_job_that_hears_no_signal_does_not_keep_its_worker_alive(new_redis, point_to, start, yahoo):
    """A process that waits in a library of C for an answer sees SIGTERM when that has come."""
    yahoo.serve("AAPL")
    point_to(new_redis.url)
    environment = {"CELERY_BROKER_URL": new_redis.url, **yahoo.server.environment}
    short = (*WORKER, "-I", "tests.faults.short_grace")
    with start(*short, ready=" ready.", **environment) as first:
        yahoo.server.hold_back()
        job = request_fetches([Stock.objects.create(symbol="AAPL")], Job.Trigger.USER_REQUEST).created[0]
        yahoo.server.wait_for_requests(yahoo.seen_before + 1)
        begin = time.monotonic()
        first.terminate()
        seconds = seconds_to_end(first, begin)
        print(f"it ended after {seconds:.1f} s")
        assert seconds < 12, "the whole time limit is 2 s of grace and 9 s for three more steps"
        yahoo.server.release()
        with start(*WORKER, ready=" ready.", **environment):
            wait_for_ends(1)
    check_jobs([job], served=yahoo.server.closes)
    job.refresh_from_db()
    assert (job.status, job.attempt, job.retries) == ("completed", 2, 0)


def test_jobs_whose_processes_get_sigterm_with_their_worker_are_handed_back(new_redis, point_to, start, gate):
    """As a supervisor does that signals a whole group."""
    point_to(new_redis.url)
    with start(*ANALYST, ready=" ready.", CELERY_BROKER_URL=new_redis.url) as first:
        jobs = gate.request("AAPL", "MSFT")
        for job in jobs:
            gate.wait_for(job, 1)
        begin = time.monotonic()
        os.killpg(first.pid, signal.SIGTERM)
        assert seconds_to_end(first, begin) < IN_TIME
        gate.open(1)
        gate.open(2)
        with start(*ANALYST, ready=" ready.", CELERY_BROKER_URL=new_redis.url):
            wait_for_ends(2)
    check_jobs(jobs)
    assert [effect_of(job) for job in jobs] == ["2", "2"]
    assert {job.retries for job in Job.objects.all()} == {0}


def test_a_worker_that_ends_leaves_the_jobs_of_another_of_the_same_name_alone(new_redis, point_to, start, gate):
    point_to(new_redis.url)
    twin = (*ANALYST, "-n", "same@here")
    with start(*twin, ready=" ready.", CELERY_BROKER_URL=new_redis.url) as first:
        early = gate.request("AAPL", "MSFT")
        for job in early:
            gate.wait_for(job, 1)
        with start(*twin, ready=" ready.", CELERY_BROKER_URL=new_redis.url) as second:
            late = gate.request("GOOG", "AMZN")
            for job in late:
                gate.wait_for(job, 1)
            second.send_signal(signal.SIGQUIT)  # without any grace
            assert second.wait(IN_TIME) is not None
            gate.open(1)
            gate.open(2)
            wait_for_ends(4)
            assert "same@here" in output_of(first)
    check_jobs([*early, *late])
    assert [effect_of(job) for job in early] == ["1", "1"]
    assert [effect_of(job) for job in late] == ["2", "2"]
