"""What MQTT is told of workers: who came, who lives, who went in good order, who was lost."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from mqtt_bridge.topics import Message
from mqtt_bridge.worker_announcements import BREAK, Notice, WorkerNotices, mark_told
from tasks.celery_worker import registry
from tasks.models import Worker
from tasks.running import heartbeat
from tests.support import asyncapi
from tests.support.workers import new_worker

pytestmark = pytest.mark.django_db

INTERVAL = 15.0


class Clock:
    """The bridge's own clock, as the test sets it."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def notices(clock) -> WorkerNotices:
    return WorkerNotices(clock)


def topics(due: list[Notice]) -> list[str]:
    return [notice.message.topic for notice in due]


def content(message: Message) -> dict[str, Any]:
    """What a message says, which is as docs/asyncapi.yaml has it."""
    channel = asyncapi.check(message.topic, message.payload)
    assert (message.qos, message.retain) == (channel.qos, channel.retain)
    return json.loads(message.payload)


def tell(notices: WorkerNotices) -> list[str]:
    """One round of a bridge whose broker answers."""
    due = notices.due()
    mark_told(due)
    return topics(due)


def beat(worker: Worker) -> None:
    heartbeat_at = Worker.objects.get(pk=worker.pk).heartbeat_at + timedelta(seconds=1)
    Worker.objects.filter(pk=worker.pk).update(heartbeat_at=heartbeat_at)


def lose(*workers: Worker) -> None:
    """Let more time pass since their heartbeats than a worker that lives can take."""
    for worker in workers:
        long_ago = timezone.now() - heartbeat.patience() - timedelta(seconds=1)
        Worker.objects.filter(pk=worker.pk).update(heartbeat_at=long_ago)


def wait(notices: WorkerNotices, clock: Clock, seconds: float) -> list[str]:
    """A round each second; what was told."""
    told = []
    for _ in range(int(seconds)):
        clock.now += 1.0
        told += tell(notices)
    return told


def test_a_worker_that_comes_is_registered_once_with_what_it_is(notices):
    worker = new_worker(
        name="Analyst",
        queues=["foreground", "background_fetch"],
        job_types=["stock_fetch"],
        capabilities=["big"],
        concurrency=4,
    )
    register, _alive = notices.due()
    assert (register.message.topic, register.message.qos, register.message.retain) == ("workers/register", 1, True)
    assert content(register.message) == {
        "worker_id": "celery@here:1",
        "timestamp": int(worker.heartbeat_at.timestamp()),
        "name": "Analyst",
        "hostname": "here",
        "pid": 1,
        "queues": ["foreground", "background_fetch"],
        "concurrency": 4,
        "job_types": ["stock_fetch"],
        "capabilities": ["big"],
        "started_at": int(worker.started_at.timestamp()),
    }
    mark_told([register])
    assert notices.due() == []
    assert Worker.objects.get().told == "registered"


def test_what_was_not_acknowledged_is_told_again_also_by_another_bridge(notices):
    new_worker()
    assert topics(notices.due()) == ["workers/register", "workers/heartbeat/celery@here:1"]
    assert topics(notices.due()) == ["workers/register"]
    assert tell(WorkerNotices()) == ["workers/register", "workers/heartbeat/celery@here:1"]
    assert tell(WorkerNotices()) == ["workers/heartbeat/celery@here:1"]


def test_each_heartbeat_is_told_once(notices):
    worker = new_worker()
    tell(notices)
    assert tell(notices) == []
    beat(worker)
    (alive,) = notices.due()
    assert alive.message[0::2] == ("workers/heartbeat/celery@here:1", 0)
    assert not alive.message.retain
    heartbeat_at = Worker.objects.get().heartbeat_at
    assert content(alive.message) == {
        "worker_id": "celery@here:1",
        "timestamp": int(heartbeat_at.timestamp()),
        "status": "alive",
    }
    assert tell(notices) == []


def test_a_worker_that_stops_in_good_order_is_unregistered_once(notices):
    worker = new_worker()
    tell(notices)
    stopped_at = timezone.now()
    Worker.objects.update(stopped_at=stopped_at, heartbeat_at=stopped_at)
    (unregister,) = notices.due()
    assert (unregister.message.topic, unregister.message.qos, unregister.message.retain) == (
        "workers/unregister",
        1,
        False,
    )
    assert content(unregister.message) == {
        "worker_id": "celery@here:1",
        "timestamp": int(stopped_at.timestamp()),
        "started_at": int(worker.started_at.timestamp()),
    }
    assert tell(WorkerNotices()) == ["workers/unregister"], "a bridge that starts tells what the last one could not"
    assert tell(notices) == []


def test_a_worker_that_is_lost_is_disconnected_once(notices, clock):
    worker = new_worker()
    tell(notices)
    lose(worker)
    told: list[Notice] = []
    for _ in range(int(INTERVAL) + 1):
        told += notices.due()
        clock.now += 1.0
    (disconnect,) = told
    assert (disconnect.message.topic, disconnect.message.qos, disconnect.message.retain) == (
        "workers/disconnect",
        1,
        False,
    )
    last = int(Worker.objects.get().heartbeat_at.timestamp())
    assert content(disconnect.message) == {
        "client_id": "celery@here:1",
        "timestamp": last + 45,
        "reason": "unexpected",
        "last_heartbeat": last,
        "started_at": int(worker.started_at.timestamp()),
    }
    mark_told(told)
    assert wait(notices, clock, 60) == []


def test_a_bridge_that_starts_tells_of_a_worker_that_was_lost_meanwhile(notices, clock):
    lost = new_worker(told="registered")
    lose(lost)
    assert wait(notices, clock, INTERVAL - 1) == []
    assert wait(notices, clock, 2) == ["workers/disconnect"]


def test_a_worker_that_nobody_was_told_of_is_not_disconnected(notices, clock):
    lose(new_worker())
    new_worker("celery@here:2", stopped_at=timezone.now())
    assert wait(notices, clock, 60) == []


def test_a_worker_that_goes_on_after_all_is_registered_again(notices, clock):
    worker = new_worker()
    tell(notices)
    lose(worker)
    assert wait(notices, clock, 20) == ["workers/disconnect"]
    Worker.objects.update(heartbeat_at=timezone.now())
    assert tell(notices) == ["workers/register", "workers/heartbeat/celery@here:1"]


def test_nobody_is_lost_because_the_database_was_away_or_its_clock_was_set(notices, clock):
    workers = [new_worker(f"celery@here:{number}") for number in range(3)]
    tell(notices)
    clock.now += 600
    lose(*workers)
    assert tell(notices) == []
    assert wait(notices, clock, INTERVAL - 2) == []
    Worker.objects.update(heartbeat_at=timezone.now())
    assert wait(notices, clock, 60) == [f"workers/heartbeat/celery@here:{number}" for number in range(3)]
    lose(*workers)
    assert wait(notices, clock, BREAK) == []


def test_a_worker_that_is_registered_anew_while_the_broker_answers_is_told_of_anew(notices):
    new_worker()
    due = notices.due()
    Worker.objects.all().delete()
    new_worker()
    mark_told(due)
    assert tell(notices) == ["workers/register", "workers/heartbeat/celery@here:1"]


@pytest.mark.parametrize(
    ("worker_id", "level"),
    [
        ("eu/1@here:1", "eu_1@here:1"),
        ("a+b#c@here:1", "a_b_c@here:1"),
        ("a\x01\ufffeb@here:1", "a__b@here:1"),
        ("größe 東京@here:1", "größe 東京@here:1"),
    ],
)
def test_what_cannot_be_a_level_of_a_topic_is_an_underscore_there(notices, worker_id, level):
    new_worker(worker_id)
    register, alive = notices.due()
    assert alive.message.topic == f"workers/heartbeat/{level}"
    assert content(register.message)["worker_id"] == content(alive.message)["worker_id"] == worker_id


def test_topics_are_those_of_the_configuration(notices, configured, clock):
    configured(
        **{
            "queue.mqtt.topics": {
                "worker_register": "our/came",
                "worker_unregister": "our/left",
                "worker_heartbeat": "our/{worker_id}/lives",
                "worker_disconnect": "our/lost",
            }
        }
    )
    lost = new_worker("a@here:1")
    stopped = new_worker("b@here:1")
    assert tell(notices) == ["our/came", "our/a@here:1/lives", "our/came", "our/b@here:1/lives"]
    lose(lost)
    Worker.objects.filter(pk=stopped.pk).update(stopped_at=timezone.now())
    assert wait(notices, clock, 20) == ["our/left", "our/lost"]


def test_a_look_takes_one_query_and_marking_one_for_each_kind(notices, django_assert_num_queries, clock):
    kinds = {"alive": {}, "stopped": {"stopped_at": timezone.now()}, "lost": {}}
    for number in range(40):
        for kind, fields in kinds.items():
            told = "" if kind == "alive" else "registered"
            worker = new_worker(f"{kind}@here:{number}", told=told, **fields)
            if kind == "lost":
                lose(worker)
    notices.due()
    for _ in range(int(INTERVAL)):
        clock.now += 1
        due = notices.due()
    with django_assert_num_queries(1):
        due = notices.due()
    assert len(due) == 120
    with django_assert_num_queries(3):
        mark_told(due)
    assert notices.due() == []
    assert set(registry.workers().values_list("state", "told")) == {
        ("alive", "registered"),
        ("stopped", "unregistered"),
        ("gone", "disconnected"),
    }
