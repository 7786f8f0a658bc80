"""What the real bridge tells of workers, and its answers to those who ask for statistics."""

import json
import signal
from collections import Counter
from collections.abc import Callable

import paho.mqtt.publish
import pytest

from operations.local.child_processes import wait_until
from operations.local.mqtt_subscriber import Message
from tasks.models import Worker
from tests.conftest import BRIDGE, WORKER, output_of
from tests.support.asyncapi import check
from tests.support.outbox import PATIENCE, request, wait_until_all_is_published
from tests.support.servers import MosquittoServer

pytestmark = pytest.mark.django_db(transaction=True)

NO_WORKERS = "user bridge\ntopic write stock/#\ntopic write jobs/#\ntopic write stockqueue/#\n"


def ask(server: MosquittoServer, payload: str | bytes) -> None:
    paho.mqtt.publish.single("system/stats/request", payload, 1, False, server.host, server.port)


@pytest.fixture
def quick(configured) -> dict[str, str]:
    """The environment of programs with a heartbeat a second."""
    return {"STOCKQUEUE_CONFIG": str(configured(**{"worker.heartbeat_interval": 1}))}


def told_of(pid: int) -> Callable[[list[Message]], list[str]]:
    """The topics, below `workers/`, of what was told of the worker of this process; others may be there as well."""

    def told_of(messages: list[Message]) -> list[str]:
        payloads = ((message.topic, json.loads(message.payload)) for message in messages)
        ours = (topic for topic, told in payloads if (told.get("worker_id") or told["client_id"]).endswith(f":{pid}"))
        return [topic.split("/")[1] for topic in ours]

    return told_of


def is_noted(pid: int, told: Worker.Told) -> Callable[[], bool]:
    return Worker.objects.filter(pid=pid, told=told).exists


def test_a_workers_life_is_told(mosquitto_server, redis_server, start, subscribe):
    url = mosquitto_server.url
    with start(*BRIDGE, ready="connected to", MQTT_URL=url), subscribe(mosquitto_server, "workers/#") as seen:
        with start(*WORKER, "-n", "told@%h", ready=" ready.", CELERY_BROKER_URL=redis_server.url) as worker:
            ours = told_of(worker.pid)
            assert seen.wait_for(lambda messages: {"register", "heartbeat"} <= set(ours(messages)), PATIENCE)
        assert seen.wait_for(lambda messages: "unregister" in ours(messages), PATIENCE)
        wait_until(is_noted(worker.pid, Worker.Told.UNREGISTERED), "the mark")
    assert Counter(ours(seen.messages)) - Counter({"heartbeat": 10}) == Counter(["register", "unregister"])
    for message in seen.messages:
        check(message.topic, message.payload)
    with subscribe(mosquitto_server, "workers/#") as latecomer:
        assert latecomer.wait_for(bool, PATIENCE)
    assert {message.topic for message in latecomer.messages if message.retained} == {"workers/register"}


def test_a_worker_that_is_killed_is_told_of_as_lost(mosquitto_server, redis_server, start, subscribe, quick):
    url = mosquitto_server.url
    with (
        start(*BRIDGE, ready="connected to", MQTT_URL=url, **quick),
        subscribe(mosquitto_server, "workers/disconnect") as seen,
        start(*WORKER, ready=" ready.", CELERY_BROKER_URL=redis_server.url, **quick) as worker,
    ):
        wait_until(is_noted(worker.pid, Worker.Told.REGISTERED), "the mark", timeout=PATIENCE)
        worker.send_signal(signal.SIGKILL)
        assert seen.wait_for(lambda messages: bool(told_of(worker.pid)(messages)), PATIENCE)
        wait_until(is_noted(worker.pid, Worker.Told.DISCONNECTED), "the mark")
    assert told_of(worker.pid)(seen.messages) == ["disconnect"]
    check(seen.messages[0].topic, seen.messages[0].payload)


def test_who_asks_for_statistics_is_answered_with_his_id(mosquitto_server, start, subscribe):
    with (
        start(*BRIDGE, ready="connected to", MQTT_URL=mosquitto_server.url) as bridge,
        subscribe(mosquitto_server, "system/stats") as seen,
    ):
        wait_until_all_is_published(request("AAPL"))
        ask(mosquitto_server, "[1, 2")
        ask(mosquitto_server, b"x" * 100_000)
        ask(mosquitto_server, json.dumps({"timestamp": 1_795_000_000, "request_id": "mine"}))
        assert seen.wait_for(
            lambda messages: any(json.loads(one.payload)["request_id"] == "mine" for one in messages), PATIENCE
        )
        assert output_of(bridge).count("ignored a request for statistics") == 2
    for message in seen.messages:
        check(message.topic, message.payload)
    figures = json.loads(seen.messages[-1].payload)
    (foreground,) = (queue for queue in figures["queues"] if queue["queue"] == "background_fetch")
    assert foreground["pending"] == 1


def test_topics_that_the_acl_denies_are_said_once_and_events_flow(start, redis_server):
    with MosquittoServer(passwords={"bridge": "secret"}, acl=NO_WORKERS) as server:
        url = f"mqtt://bridge:secret@{server.host}:{server.port}"
        with (
            start(*BRIDGE, ready="connected to", MQTT_URL=url) as bridge,
            start(*WORKER, ready=" ready.", CELERY_BROKER_URL=redis_server.url),
        ):
            wait_until(lambda: "refused: workers/register: Not auth" in output_of(bridge), "it", timeout=PATIENCE)
            wait_until_all_is_published(request("AAPL"))
            assert output_of(bridge).count("workers/register") == 1
