"""The broker is away, hangs or does not read: a login is answered at once, and its jobs are done here, each once."""

from collections import Counter

import pytest

from operations.local.child_processes import wait_until
from tasks.delivery import broker, direct
from tasks.models import Job
from tasks.upkeep.sweeper import sweep
from tests.conftest import WORKER
from tests.faults.steps import fetch, fetched, log_in, wait_for_end
from tests.support.invariants import check_jobs
from tests.support.promptly import promptly

pytestmark = pytest.mark.django_db(transaction=True)

SYMBOLS = [f"S{number:02}" for number in range(30)]


@pytest.fixture
def holdings(user, hold, yahoo) -> list[str]:
    """The user holds thirty stale stocks."""
    yahoo.serve(*SYMBOLS)
    hold(user, *SYMBOLS)
    return SYMBOLS


def most_at_once(jobs: list[Job]) -> int:
    """How many of the jobs ran at the same time, at most."""
    ends = [(job.started_at, 1) for job in jobs] + [(job.finished_at, -1) for job in jobs]
    running = most = 0
    for _moment, step in sorted(ends):
        running += step
        most = max(most, running)
    return most


def check_done_here(yahoo) -> None:
    jobs = list(Job.objects.all())
    check_jobs(jobs, served=yahoo.server.closes)
    assert {job.status for job in jobs} == {"completed"}
    assert {job.worker_id for job in jobs} == {direct.worker_id()}
    assert fetched(yahoo) == Counter(SYMBOLS)
    assert most_at_once(jobs) <= direct.THREADS


@pytest.mark.parametrize("state", ["refuses", "hangs"])
def test_a_login_while_redis_is_away_is_answered_and_its_jobs_are_done_here(
    state, user, holdings, yahoo, new_redis, point_to, direct_processing
):
    point_to(new_redis.url)
    new_redis.stop() if state == "refuses" else new_redis.pause()
    with promptly():
        log_in(user)
    wait_for_end(Job.objects.all())
    check_done_here(yahoo)


def test_a_login_while_rabbitmq_has_an_alarm_is_answered_and_its_jobs_are_done_here(
    user, holdings, yahoo, new_rabbit, point_to, direct_processing
):
    point_to(new_rabbit.url)
    new_rabbit.block_publishers()
    with promptly():
        log_in(user)
    wait_for_end(Job.objects.all())
    check_done_here(yahoo)


def test_what_fails_here_is_tried_again_here(user, hold, yahoo, configured, direct_processing):
    configured(**{"stock_jobs.data_fetch.retry_backoff": [0]})
    yahoo.serve("AAPL")
    yahoo.misbehave("server_error", "AAPL", times=1)
    hold(user, "AAPL")
    log_in(user)
    job = Job.objects.get()
    wait_until(lambda: Job.objects.filter(pk=job.pk, retries=1).exists(), "the first attempt")
    sweep()  # as this process does every ten seconds while it processes directly
    wait_for_end([job])
    check_jobs([job], served=yahoo.server.closes)
    job.refresh_from_db()
    assert (job.status, job.attempt) == ("completed", 2)


def test_when_the_broker_returns_meanwhile_no_stock_is_fetched_twice(
    user, holdings, yahoo, new_redis, point_to, start, direct_processing
):
    point_to(new_redis.url)
    new_redis.stop()
    yahoo.server.hold_back()
    log_in(user)
    running = Job.objects.filter(status="running", worker_id=direct.worker_id())
    wait_until(running.exists, "direct processing")
    new_redis.start()
    broker.breaker.succeed()  # the pause after the failure is over
    with start(*WORKER, ready=" ready.", CELERY_BROKER_URL=new_redis.url, **yahoo.server.environment):
        sweep()
        yahoo.server.release()
        wait_for_end(Job.objects.all())
    jobs = list(Job.objects.all())
    check_jobs(jobs, served=yahoo.server.closes)
    assert {job.status for job in jobs} == {"completed"}
    assert fetched(yahoo) == Counter(SYMBOLS)
    workers = Counter(job.worker_id for job in jobs)
    assert workers[direct.worker_id()] > 0
    assert len(workers) == 2, workers


def test_jobs_that_nobody_waits_for_wait_for_the_broker(yahoo, new_redis, point_to, direct_processing):
    point_to(new_redis.url)
    new_redis.stop()
    (job,) = fetch("AAPL", trigger=Job.Trigger.SCHEDULED_UPDATE)
    assert direct.wait_until_idle(0)
    job.refresh_from_db()
    assert job.status == "pending"
