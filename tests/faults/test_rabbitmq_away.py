"""RabbitMQ is restarted, or half open: jobs have one effect, and nobody waits for long."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tasks.delivery import broker
from tasks.models import Job
from tasks.upkeep.sweeper import sweep
from tests.conftest import WORKER
from tests.faults.steps import counts, fetch, fetched, let_pass, log_in, wait_for_end
from tests.support.invariants import check_jobs
from tests.support.promptly import promptly
from tests.support.rabbit import RabbitServer
from tests.support.stalling_proxy import StallingProxy

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_rabbitmq_is_restarted_in_mid_job(how, new_rabbit, point_to, start, yahoo):
    symbols = [f"S{number}" for number in range(6)]
    yahoo.serve(*symbols)
    point_to(new_rabbit.url)
    with start(*WORKER, ready=" ready.", CELERY_BROKER_URL=new_rabbit.url, **yahoo.server.environment):
        yahoo.server.hold_back()
        jobs = fetch(*symbols)
        yahoo.server.wait_for_requests(yahoo.seen_before + 2)
        new_rabbit.stop() if how == "stopped" else new_rabbit.kill()
        yahoo.server.release()
        wait_for_end(jobs[:1])  # jobs go on without their broker
        new_rabbit.start()
        broker.breaker.succeed()
        let_pass(60)
        sweep()
        wait_for_end(jobs)
    check_jobs(jobs, served=yahoo.server.closes)
    assert set(Job.objects.values_list("status", flat=True)) == {"completed"}
    assert fetched(yahoo) == Counter(symbols)


@contextmanager
def half_open(server: RabbitServer) -> Iterator[tuple[str, Callable[[], None]]]:
    """A URL, and what leaves its connections half open: nothing arrives there any more, and new ones work."""
    with StallingProxy(server.host, server.port) as proxy:
        yield server.url.replace(f":{server.port}/", f":{proxy.port}/"), proxy.forget


def test_a_worker_and_rabbitmq_send_each_other_heartbeats_every_ten_seconds(rabbit_server, start):
    before = rabbit_server.heartbeats().count(10)
    with start(*WORKER, ready=" ready.", CELERY_BROKER_URL=rabbit_server.url):
        assert rabbit_server.heartbeats().count(10) > before


@pytest.mark.long
def test_a_worker_recovers_from_a_half_open_connection_to_rabbitmq(new_rabbit, point_to, start, yahoo):
    yahoo.serve("AAPL", "MSFT")
    point_to(new_rabbit.url)
    with (
        half_open(new_rabbit) as (url, forget),
        start(*WORKER, ready=" ready.", CELERY_BROKER_URL=url, **yahoo.server.environment),
    ):
        jobs = fetch("AAPL")
        wait_for_end(jobs)
        forget()
        began = time.monotonic()
        jobs += fetch("MSFT")
        wait_for_end(jobs, timeout=150)
        print(f"all was done {time.monotonic() - began:.1f} s later")
    check_jobs(jobs, served=yahoo.server.closes)
    assert set(Job.objects.values_list("status", "attempt")) == {("completed", 1)}


def test_a_login_through_a_half_open_connection_to_rabbitmq_is_quick_and_its_jobs_are_sent(
    user, hold, empty_rabbit, point_to
):
    hold(user, *(f"S{number}" for number in range(3)))
    with half_open(empty_rabbit) as (url, forget):
        point_to(url)
        fetch("USED")  # which opens the connection
        forget()
        with promptly():
            log_in(user)
    assert counts() == {"queued": 4}
