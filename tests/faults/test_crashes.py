"""Processes that ask for jobs, and die or lose their broker before they know that it has them."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable

import pytest
from django.db import transaction

from market.models import Stock
from operations.local.child_processes import kill_group, spawn, wait_until
from tasks.delivery import broker as celery_broker
from tasks.delivery import direct
from tasks.models import Job, JobEvent, JobRequest
from tasks.upkeep.sweeper import sweep
from tests.conftest import ROOT, WORKER, database_url, output_of
from tests.faults.steps import BEAT, counts, fetch, fetched, let_pass, wait_for_end
from tests.support.invariants import check_jobs
from tests.support.stalling_proxy import StallingProxy

pytestmark = pytest.mark.django_db(transaction=True)

ASK = """
import os
from market.models import Stock
from market.jobs.requests import request_fetches
request_fetches([Stock.objects.create(symbol=symbol) for symbol in os.environ["ASK"].split()], "user_request")
"""


def ask_in_another_process(url: str, symbols: str, **environment: str) -> "subprocess.Popen[bytes]":
    """A process that asks for these stocks, as a web server does."""
    own = os.environ | {"DATABASE_URL": database_url(), "CELERY_BROKER_URL": url, "ASK": symbols} | environment
    return spawn([sys.executable, "manage.py", "shell", "-v0", "-c", ASK], cwd=ROOT, env=own)


@pytest.fixture
def run(new_redis, start, yahoo) -> Callable[..., object]:
    """run(): a worker on the new Redis, as a context manager."""
    return lambda: start(*WORKER, ready=" ready.", CELERY_BROKER_URL=new_redis.url, **yahoo.server.environment)


def test_jobs_of_processes_that_die_after_their_commit_are_done_once(new_redis, point_to, run, yahoo):
    yahoo.serve("AAPL", "MSFT", "GOOG", "AMZN")
    point_to(new_redis.url)
    # The second one sends what the first one left, too.
    for point, symbols in (("published", "AAPL MSFT"), ("committed", "GOOG AMZN")):
        asking = ask_in_another_process(new_redis.url, symbols, STOCKQUEUE_CRASH_AT=point)
        assert asking.wait(30) == -signal.SIGKILL
        # Two as a rule; on a slow machine the time for sending may be over after the first.
        assert celery_broker.depth("foreground") in (1, 2)
    jobs = list(Job.objects.all())
    assert counts() == {"pending": 4}
    with run():  # it sweeps when it starts
        wait_for_end(jobs)
    check_jobs(jobs, served=yahoo.server.closes)
    assert fetched(yahoo) == {"AAPL": 1, "MSFT": 1, "GOOG": 1, "AMZN": 1}


def test_jobs_of_a_process_that_dies_while_it_sends_are_done_once(new_redis, point_to, run, yahoo):
    yahoo.serve("AAPL", "MSFT")
    point_to(new_redis.url)
    new_redis.pause()
    asking = ask_in_another_process(new_redis.url, "AAPL MSFT")
    try:
        turns = Job.objects.filter(status="pending", dispatched_at__isnull=False)
        wait_until(turns.exists, "the jobs' turn", process=asking)
    finally:
        kill_group(asking)
        asking.wait()
    new_redis.resume()
    jobs = list(Job.objects.all())
    assert turns.count() == 2, "it has noted what came of sending"
    let_pass(11)
    with run():
        wait_for_end(jobs)
    check_jobs(jobs, served=yahoo.server.closes)
    assert fetched(yahoo) == {"AAPL": 1, "MSFT": 1}


@pytest.mark.long
def test_beat_has_the_jobs_of_a_process_that_died_sent_within_a_minute(new_redis, point_to, run, yahoo, start):
    yahoo.serve("AAPL", "MSFT")
    with run(), start(*BEAT, ready="beat", CELERY_BROKER_URL=new_redis.url):
        asking = ask_in_another_process(new_redis.url, "AAPL MSFT", STOCKQUEUE_CRASH_AT="committed")
        assert asking.wait(30) == -signal.SIGKILL
        jobs = list(Job.objects.all())
        wait_for_end(jobs, timeout=60)
    check_jobs(jobs, served=yahoo.server.closes)


def test_a_message_that_arrived_although_sending_it_timed_out_has_one_effect(new_redis, point_to, run, yahoo):
    yahoo.serve("AAPL", "USED")
    with StallingProxy(new_redis.host, new_redis.port) as proxy:
        point_to(f"redis://127.0.0.1:{proxy.port}/0")
        used = fetch("USED")  # opens a connection
        proxy.hold_back_from(b"LPUSH")
        (job,) = fetch("AAPL")
        job.refresh_from_db()
        assert (job.status, job.dispatched_at) == ("pending", None)
        proxy.release()
        arrived = celery_broker.depth("foreground") - 1
        assert arrived >= 1
        celery_broker.breaker.succeed()
        assert sweep() == 1
    with run() as worker:
        wait_for_end([*used, job])
        refusals = f"cannot claim job {job.pk}"
        wait_until(lambda: output_of(worker).count(refusals) == arrived, f"{arrived} refusals")
    check_jobs([*used, job], served=yahoo.server.closes)
    assert fetched(yahoo) == {"AAPL": 1, "USED": 1}


def test_a_message_that_arrived_unnoticed_does_not_repeat_what_direct_processing_does(
    new_redis, point_to, run, yahoo, direct_processing, caplog
):
    caplog.set_level("INFO")
    symbols = [f"S{number}" for number in range(10)]
    yahoo.serve("USED", *symbols)
    with run() as worker, StallingProxy(new_redis.host, new_redis.port) as proxy:
        point_to(f"redis://127.0.0.1:{proxy.port}/0")
        jobs = fetch("USED")
        proxy.hold_back_from(b"LPUSH")
        jobs += fetch(*symbols)
        wait_for_end(jobs)
        proxy.release()
        # By the worker or by this process, whoever came second; of those whose message arrived.
        refusals = [f"cannot claim job {job.pk}" for job in jobs[1:]]
        wait_until(lambda: any(one in output_of(worker) + caplog.text for one in refusals), "a refusal")
    check_jobs(jobs, served=yahoo.server.closes)
    assert fetched(yahoo) == Counter(["USED", *symbols])
    assert direct.worker_id() in set(Job.objects.values_list("worker_id", flat=True))


def test_jobs_of_a_transaction_that_is_rolled_back_were_never_there(broker):
    before = celery_broker.depth("foreground")

    class ChangedMind(Exception):
        pass

    def ask_and_change_mind():
        with transaction.atomic():
            assert len(fetch("AAPL", "MSFT")) == 2
            raise ChangedMind

    with pytest.raises(ChangedMind):
        ask_and_change_mind()
    with transaction.atomic():
        with pytest.raises(ChangedMind):
            ask_and_change_mind()  # rolls back to a savepoint
        Stock.objects.create(symbol="KEPT")
    sweep()
    assert [model.objects.count() for model in (Job, JobEvent, JobRequest)] == [0, 0, 0]
    assert celery_broker.depth("foreground") == before
    assert Stock.objects.get().symbol == "KEPT"
