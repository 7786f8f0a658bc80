"""What a Celery worker of ours takes, and what it keeps."""

import re

import pytest
from django.db.models import QuerySet
from kombu.asynchronous.timer import Timer

from operations.local.child_processes import wait_until
from tasks.celery_worker.bootsteps import forget_cancelled
from tasks.enqueue import Wanted, request_jobs
from tasks.models import Job
from tests.conftest import output_of

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
def test_on_rabbitmq_an_urgent_job_is_the_next_of_a_worker_of_all_queues(rabbit_server, configured, start, point_to):
    point_to(rabbit_server.url)
    file = configured()
    slow = [Wanted(Job.Type.STOCK_RESEARCH, f"{number}", parameters={"seconds": 0.3}) for number in range(12)]
    request_jobs(slow, Job.Trigger.BACKGROUND_ANALYSIS)
    words = ("-m", "celery", "-A", "stockqueue", "worker", "-c", "1", "-I", "benchmarks.works", "--loglevel", "INFO")
    with start(*words, ready=" ready.", CELERY_BROKER_URL=rabbit_server.url, STOCKQUEUE_CONFIG=str(file)):
        for number in range(3):
            before = begun().count()
            wait_until(lambda: begun().count() > before, "the next slow job")  # noqa: B023
            (urgent,) = request_jobs([Wanted(Job.Type.STOCK_FETCH, f"urgent {number}")], Job.Trigger.USER_REQUEST).jobs
            ours = Job.objects.filter(pk=urgent.pk, started_at__isnull=False)
            wait_until(ours.exists, "the urgent job")
            started = ours.get().started_at
            assert begun().filter(started_at__gt=urgent.created_at, started_at__lt=started).count() <= 1


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
