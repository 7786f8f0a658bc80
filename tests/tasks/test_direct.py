"""Direct processing: the process that asks does the jobs itself, in a few threads."""

import threading

import pytest

from market.jobs.requests import request_batches, request_fetches
from market.models import Stock
from operations.local.child_processes import wait_until
from tasks.delivery import direct
from tasks.models import Job
from tests.faults.steps import log_in
from tests.support.promptly import promptly

pytestmark = pytest.mark.django_db(transaction=True)

Trigger = Job.Trigger


def all_ended() -> bool:
    return not Job.objects.filter(status__in=Job.ACTIVE).exists()


def outcomes() -> set[tuple[str, str]]:
    return set(Job.objects.values_list("status", "outcome"))


@pytest.fixture
def thirty(user, hold, yahoo) -> list[Stock]:
    symbols = [f"S{number:02}" for number in range(30)]
    yahoo.serve(*symbols)
    return hold(user, *symbols)


def test_without_a_broker_a_login_is_answered_at_once_and_its_jobs_are_done_here(
    user, thirty, yahoo, configured, direct_processing
):
    configured(**{"queue.backend": "direct"})
    yahoo.server.hold_back()
    with promptly():
        log_in(user)
    yahoo.server.release()
    wait_until(all_ended, "the jobs", timeout=60)
    assert outcomes() == {("completed", "updated")}
    assert set(Job.objects.values_list("worker_id", flat=True)) == {direct.worker_id()}


def test_a_few_threads_do_all_the_jobs(thirty, yahoo, configured, direct_processing):
    configured(**{"queue.backend": "direct"})
    yahoo.server.hold_back()
    request_fetches(thirty, Trigger.USER_REQUEST)
    running = Job.objects.filter(status="running")
    wait_until(lambda: running.count() == direct.THREADS, "the threads")
    yahoo.server.wait_for_requests(yahoo.seen_before + direct.THREADS)
    assert running.count() == direct.THREADS
    assert sum(thread.name.startswith("direct_") for thread in threading.enumerate()) == direct.THREADS
    yahoo.server.release()
    wait_until(all_ended, "the jobs", timeout=60)
    assert outcomes() == {("completed", "updated")}


def test_what_nobody_waits_for_leaves_threads_for_those_who_wait(thirty, yahoo, configured, direct_processing):
    configured(**{"queue.backend": "direct", "stock_jobs.data_fetch.batch_size": 2})
    first, *others = thirty
    yahoo.server.hold_back()
    request_batches(others, Trigger.SCHEDULED_UPDATE)
    running = Job.objects.filter(status="running")
    wait_until(lambda: running.count() == direct.BACKGROUND_THREADS, "the batches")
    (job,) = request_fetches([first], Trigger.USER_REQUEST).created
    wait_until(lambda: running.filter(pk=job.pk).exists(), "the job that somebody waits for")
    yahoo.server.release()
    wait_until(all_ended, "the jobs", timeout=60)


def test_a_retry_comes_without_a_broker_too(yahoo, configured, direct_processing, monkeypatch):
    configured(**{"queue.backend": "direct", "stock_jobs.data_fetch.retry_backoff": [0.1]})
    monkeypatch.setattr(direct, "SWEEP_EVERY", 0.5)
    yahoo.serve("AAPL")
    yahoo.misbehave("server_error", "AAPL", times=1)
    request_fetches([Stock.objects.create(symbol="AAPL")], Trigger.USER_REQUEST)
    wait_until(all_ended, "the second attempt", timeout=30)
    job = Job.objects.get()
    assert (job.status, job.attempt, job.retries) == ("completed", 2, 1)


def test_users_that_are_not_moved_to_the_queues_yet_are_served_here(
    user, hold, yahoo, broker, configured, direct_processing
):
    configured(**{"integration.rollout_percent": 0})
    yahoo.serve("AAPL", "MSFT")
    request_fetches(hold(user, "AAPL", "MSFT"), Trigger.USER_LOGIN, user)
    wait_until(all_ended, "the jobs", timeout=30)
    assert set(Job.objects.values_list("worker_id", flat=True)) == {direct.worker_id()}
