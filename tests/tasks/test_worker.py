"""What a Celery worker of ours takes, and what it keeps."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from celery import current_app
from django.db.models import QuerySet
from kombu.asynchronous.timer import Timer
from kombu.connection import Connection

from operations.local.child_processes import wait_until
from tasks.celery_worker.bootsteps import forget_cancelled
from tasks.enqueue import JobSpec, enqueue
from tasks.models import Job
from tests.conftest import WORKER, output_of
from tests.faults.steps import fetch, wait_for_end
from tests.support.rabbit import RabbitServer

ALL = {"foreground", "background_fetch", "background_analysis"}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("supported", "options", "taken"),
    [
        ([], (), ALL),
        (["stock_fetch"], (), {"foreground", "background_fetch"}),
        (["portfolio_priority"], (), {"foreground"}),
        (["stock_fetch", "stock_analysis", "portfolio_priority"], (), ALL),
        (["stock_analysis", "stock_research"], (), {"background_analysis"}),
        (["stock_batch_fetch", "stock_analysis"], (), {"background_fetch", "background_analysis"}),
        (["stock_analysis"], ("-Q", "foreground"), {"foreground"}),
    ],
)
def test_a_worker_takes_the_queues_of_its_job_types_unless_it_is_told_which(
    supported, options, taken, new_redis, configuration_file, start
):
    file = configuration_file(**{"worker.supported_job_types": supported})
    words = ("-m", "celery", "-A", "stockqueue", "worker", *options, "-c", "1", "--loglevel", "INFO")
    with start(*words, ready=" ready.", CELERY_BROKER_URL=new_redis.url, STOCKQUEUE_CONFIG=str(file)) as worker:
        assert set(re.findall(r"\.> (\w+) +exchange", output_of(worker))) == taken


@pytest.mark.django_db(transaction=True)
def test_on_rabbitmq_an_urgent_job_is_the_next_of_a_worker_of_all_queues(empty_rabbit, configured, start, point_to):
    point_to(empty_rabbit.url)
    file = configured()
    slow = [JobSpec(Job.Type.STOCK_RESEARCH, f"{number}", parameters={"seconds": 0.3}) for number in range(12)]
    enqueue(slow, Job.Trigger.BACKGROUND_ANALYSIS)
    words = ("-m", "celery", "-A", "stockqueue", "worker", "-c", "1", "-I", "benchmarks.works", "--loglevel", "INFO")
    with start(*words, ready=" ready.", CELERY_BROKER_URL=empty_rabbit.url, STOCKQUEUE_CONFIG=str(file)):
        for number in range(3):
            before = begun().count()
            wait_until(lambda: begun().count() > before, "the next slow job")  # noqa: B023
            (urgent,) = enqueue([JobSpec(Job.Type.STOCK_FETCH, f"urgent {number}")], Job.Trigger.USER_REQUEST).jobs
            ours = Job.objects.filter(pk=urgent.pk, started_at__isnull=False)
            wait_until(ours.exists, "the urgent job")
            started = ours.get().started_at
            assert begun().filter(started_at__gt=urgent.created_at, started_at__lt=started).count() <= 1


@pytest.mark.django_db(transaction=True)
def test_on_rabbitmq_jobs_are_done_in_a_virtual_host_of_quorum_queues(rabbit_server, start, point_to, yahoo):
    yahoo.serve("AAPL")
    url = rabbit_server.url_of_quorum_host("quorum")
    point_to(url)
    words = (*WORKER, "-Q", "foreground,background_fetch,background_analysis")
    with start(*words, ready=" ready.", CELERY_BROKER_URL=url, **yahoo.server.environment) as worker:
        wait_for_end(fetch("AAPL"))
        assert current_app.control.ping(timeout=10, limit=1)
        assert "PRECONDITION_FAILED" not in output_of(worker)


@contextmanager
def foreground_with(server: RabbitServer, **arguments: Any) -> Iterator[Any]:
    """The queue `foreground`, declared anew with these arguments."""
    with Connection(server.url) as connection:
        queue = current_app.amqp.queues["foreground"](connection.default_channel)
        queue.delete()
        queue.queue_arguments = {f"x-{name.replace('_', '-')}": value for name, value in arguments.items()}
        queue.declare()
        yield queue


@pytest.mark.django_db(transaction=True)
def test_a_queue_of_an_earlier_version_is_declared_again_as_it_is(empty_rabbit, start, point_to, yahoo):
    """It was declared without a type, which makes it a classic one."""
    yahoo.serve("AAPL")
    point_to(empty_rabbit.url)
    with foreground_with(empty_rabbit, max_priority=10) as queue:
        jobs = fetch("AAPL")
        assert queue.queue_declare(passive=True).message_count == 1
        with start(*WORKER, ready=" ready.", CELERY_BROKER_URL=empty_rabbit.url, **yahoo.server.environment):
            wait_for_end(jobs)


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_cannot_declare_its_queue_says_why_and_goes_on_once_it_can(empty_rabbit, start):
    with (
        foreground_with(empty_rabbit, max_priority=3) as queue,
        start(*WORKER, ready="PRECONDITION_FAILED", CELERY_BROKER_URL=empty_rabbit.url) as worker,
    ):
        wait_until(lambda: output_of(worker).count("Connected to") > 1, "another attempt", process=worker)
        queue.delete()
        wait_until(lambda: " ready." in output_of(worker), "the worker", process=worker, timeout=60)
        assert "AttributeError" not in output_of(worker)


def begun() -> "QuerySet[Job]":
    """The slow jobs that have begun."""
    return Job.objects.filter(job_type=Job.Type.STOCK_RESEARCH, started_at__isnull=False)


def test_the_timers_of_ended_jobs_are_freed_and_the_others_keep_their_order():
    timer = Timer()
    ended = [timer.call_after(seconds, print) for seconds in (5, 1, 3)]
    timer.call_after(4, print, ("second",))
    timer.call_after(2, print, ("first",))
    for entry in ended:
        entry.cancel()
    forget_cancelled(timer)
    assert [scheduled.entry.args for scheduled in timer.queue] == [("first",), ("second",)]
