"""Programs that listen: one that was written for the predecessor, very many, and one that is slow."""

import json
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.publish
import pytest
from django.test import Client
from django.utils import timezone

from operations.local.child_processes import spawn, stop, wait_until
from operations.local.mqtt_subscriber import Message
from tasks.models import Job
from tasks.state import lifecycle
from tests.conftest import BRIDGE
from tests.support.invariants import arrived_event_ids, check_nothing_was_lost, event_ids
from tests.support.outbox import PATIENCE, arrived, request, wait_until_all_is_published
from tests.support.servers import MosquittoServer, find_server

pytestmark = pytest.mark.django_db(transaction=True)

MANY = 500
RATE = 10
"""Events a second."""


class PredecessorsMonitor:
    """What existing programs do: they know `id` and the fields of the predecessor, its four statuses, and no other."""

    FOLLOWS = {
        None: {"pending"},
        "pending": {"pending", "running", "failed"},
        "running": {"running", "pending", "completed", "failed"},
    }

    def __init__(self) -> None:
        self.status: dict[str, str] = {}
        self.ends: dict[str, str] = {}

    def see(self, message: Message) -> None:
        told = json.loads(message.payload)
        if message.topic.startswith("stock/"):
            self._see_job(told)
        elif message.topic.startswith("jobs/completed/"):
            assert isinstance(told["result"], dict)
            self._see_end(message.topic, told, "completed", told["completed_at"])
        elif message.topic.startswith("jobs/failed/"):
            assert isinstance(told["error"], str)
            assert isinstance(told["retry"], bool)
            if not told["retry"]:
                self._see_end(message.topic, told, "failed", told["failed_at"])

    def _see_job(self, job: dict[str, Any]) -> None:
        types = {"id": str, "job_type": str, "subtype": str, "symbol": str, "priority": int, "status": str}
        types |= {"created_at": int, "attempts": int, "parameters": dict, "metadata": dict}
        for name, type_ in types.items():
            assert type(job[name]) is type_, f"{name}: {job[name]!r}"
        assert job["status"] in self.FOLLOWS[self.status.get(job["id"])], f"{job['id']}: {job['status']}"
        self.status[job["id"]] = job["status"]

    def _see_end(self, topic: str, told: dict[str, Any], status: str, at: object) -> None:
        assert type(at) is int
        assert isinstance(told["worker_id"], str)
        assert told["status"] == status
        assert topic.endswith(told["job_id"])
        self.ends[told["job_id"]] = status


def tells_an_end(message: Message) -> bool:
    return message.topic.startswith(("jobs/completed/", "jobs/failed/"))


def test_a_subscriber_of_the_predecessor_follows_jobs_from_queue_to_end(
    user, hold, yahoo, broker, worker, mosquitto_server, start, subscribe
):
    yahoo.serve("AAPL", "MSFT")
    hold(user, "AAPL", "MSFT", "ZZTOP")
    with (
        start(*BRIDGE, ready="connected to", MQTT_URL=mosquitto_server.url),
        subscribe(mosquitto_server, "stock/+/+") as stock,
        subscribe(mosquitto_server, "jobs/#") as jobs,
    ):
        Client().post("/accounts/login/", {"username": user.username, "password": "secret"})
        wait_until(lambda: not Job.objects.active().exists(), "the jobs to end", timeout=PATIENCE)
        (retried,) = request("RETRIED")
        claim = lifecycle.claim(retried.pk, "host:worker-1")
        assert claim
        lifecycle.retry(claim, "no answer", run_at=timezone.now())
        claim = lifecycle.claim(retried.pk, "host:worker-1")
        assert claim
        lifecycle.complete(claim, Job.Outcome.UPDATED, {"symbol": "RETRIED"})
        every_job = list(Job.objects.all())
        assert stock.wait_for(arrived(every_job), PATIENCE)
        assert jobs.wait_for(lambda messages: sum(map(tells_an_end, messages)) == 5, PATIENCE)
    monitor = PredecessorsMonitor()
    for message in stock.messages + jobs.messages:
        monitor.see(message)
    expected = {str(job.pk): job.status for job in every_job}
    assert sorted(expected.values()) == ["completed", "completed", "completed", "failed"]
    assert monitor.status == expected
    assert monitor.ends == expected


@contextmanager
def mosquitto_sub(server: MosquittoServer, output: Path, *options: str) -> Iterator["subprocess.Popen[bytes]"]:
    """`mosquitto_sub` on `stock/+/+` that writes each message into a line of `output`."""
    words = [find_server("mosquitto_sub"), "-h", server.host, "-p", str(server.port), "-t", "stock/+/+", "-q", "1"]
    with output.open("wb") as file:
        process = spawn([*words, *options], output=file.fileno())
    try:
        yield process
    finally:
        stop(process)


def messages_in(output: Path) -> list[Message]:
    """Whole lines alone: the last one may still be written."""
    lines = output.read_bytes().splitlines(keepends=True)
    return [Message("", line, retained=False) for line in lines if line.endswith(b"\n") and b"event_id" in line]


@pytest.mark.parametrize("seconds", [5, pytest.param(30, marks=pytest.mark.long)])
def test_five_hundred_subscribers_miss_nothing(seconds, new_mosquitto, start, tmp_path):
    # What is retained is sent with the subscription, and so tells that it is there.
    paho.mqtt.publish.single("stock/test/ready", "ready", 1, True, new_mosquitto.host, new_mosquitto.port)
    outputs = [tmp_path / str(number) for number in range(MANY)]
    never = threading.Event()
    with ExitStack() as stack:
        stack.enter_context(start(*BRIDGE, ready="connected to", MQTT_URL=new_mosquitto.url))
        for output in outputs:
            stack.enter_context(mosquitto_sub(new_mosquitto, output))
        wait_until(lambda: all(output.stat().st_size for output in outputs), "the subscriptions", timeout=60)
        jobs = []
        began = time.monotonic()
        for number in range(seconds * RATE):
            never.wait(began + number / RATE - time.monotonic())
            jobs += request(f"S{number}")
        expected = event_ids(jobs)
        wait_until_all_is_published(jobs)
        behind = list(outputs)

        def have_all() -> bool:
            while behind and len(messages_in(behind[-1])) >= len(expected):
                behind.pop()
            return not behind

        wait_until(have_all, "every message at every subscriber", timeout=PATIENCE, every=1)
    check_nothing_was_lost(messages_in(outputs[0]), jobs)
    for output in outputs:  # each job has one event
        assert arrived_event_ids(messages_in(output)) == expected


def test_a_subscriber_that_is_slow_gets_ten_thousand_events_in_order(start, tmp_path):
    with MosquittoServer(saves=False, conf=["max_inflight_messages 100"]) as server:
        output = tmp_path / "slow"
        paho.mqtt.publish.single("stock/test/ready", "ready", 1, True, server.host, server.port)
        with (
            mosquitto_sub(server, output, "-c", "-i", "slow") as slow,
            start(*BRIDGE, ready="connected to", MQTT_URL=server.url),
        ):
            wait_until(lambda: bool(output.stat().st_size), "the subscription")
            slow.send_signal(signal.SIGSTOP)
            jobs = request(*(f"S{number}" for number in range(5_000)))
            lifecycle.mark_queued([job.pk for job in jobs])
            wait_until_all_is_published(jobs)
            slow.send_signal(signal.SIGCONT)
            wait_until(lambda: len(messages_in(output)) >= 10_000, "every event", timeout=PATIENCE, every=0.5)
        check_nothing_was_lost(messages_in(output), jobs)
