"""One worker of one process does jobs in the order of their priority, and the oldest of a priority first."""

import random

import pytest

from operations.local.child_processes import wait_until
from tasks.delivery import broker
from tasks.enqueue import JobSpec, enqueue
from tasks.models import Job
from tasks.priority import BANDS, Factors

pytestmark = pytest.mark.django_db(transaction=True)

COUNT = 500
Trigger, Type = Job.Trigger, Job.Type

URGENT, NOT_URGENT = Factors(1, 1, 1, 1), Factors(0, 0, 0, 0)
# By queue: what gives each of its priorities.
KINDS = {
    "foreground": [(Type.STOCK_FETCH, Trigger.USER_LOGIN), (Type.STOCK_FETCH, Trigger.USER_REQUEST)],
    "background_fetch": [(Type.STOCK_FETCH, Trigger.SCHEDULED_UPDATE)],
    "background_analysis": [
        (Type.STOCK_ANALYSIS, Trigger.BACKGROUND_ANALYSIS),
        (Type.STOCK_RESEARCH, Trigger.MAINTENANCE),
    ],
}


def ask(queues: list[str], count: int) -> None:
    """Ask for jobs of random priorities, ten at a time."""
    chance = random.Random(1)
    for first in range(0, count, 10):
        job_type, trigger = chance.choice(KINDS[chance.choice(queues)])
        things = [
            JobSpec(job_type, f"{number}", f"S{number}", factors=chance.choice([URGENT, Factors(), NOT_URGENT]))
            for number in range(first, first + 10)
        ]
        enqueue(things, trigger)


def check_order(server, queues: list[str], configured, start, point_to) -> None:
    file = configured(**{f"queue.priority_queues.{queue}.max_jobs": 1_000 for queue in KINDS})
    point_to(server.url)
    ask(queues, COUNT)
    assert Job.objects.filter(status="queued").count() == COUNT
    assert set(Job.objects.values_list("priority", flat=True)) == {
        p for queue in queues for p in BANDS[Job.Queue(queue)]
    }
    words = (
        "-m",
        "celery",
        "-A",
        "stockqueue",
        "worker",
        "-Q",
        ",".join(queues),
        "-c",
        "1",
        "-I",
        "benchmarks.works",
        "--loglevel",
        "INFO",
    )
    with start(*words, ready=" ready.", CELERY_BROKER_URL=server.url, STOCKQUEUE_CONFIG=str(file)):
        wait_until(lambda: not Job.objects.exclude(status="completed").exists(), "the jobs", timeout=120)
    done = list(Job.objects.order_by("started_at").values_list("priority", "created_at"))
    assert done == sorted(done)
    broker.breaker.succeed()


@pytest.mark.parametrize("queue", list(KINDS))
@pytest.mark.parametrize("kind", ["redis", "rabbitmq"])
def test_jobs_of_a_queue_come_in_order(kind, queue, request, configured, start, point_to):
    server = request.getfixturevalue("new_redis" if kind == "redis" else "empty_rabbit")
    check_order(server, [queue], configured, start, point_to)


def test_jobs_of_all_queues_come_in_order_on_redis(new_redis, configured, start, point_to):
    check_order(new_redis, list(KINDS), configured, start, point_to)
