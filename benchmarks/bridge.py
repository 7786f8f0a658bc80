"""The MQTT bridge against a bare paho loop, from commit to subscriber, and while it has nothing to do.

A backlog: messages a second through the shipped bridge, from the commit to the mark on the last event, against a loop
that publishes the same payloads at QoS 1, with the same window, to the same mosquitto. Latency: from the commit of an
event to a subscriber, at 50 events a second.
"""

import argparse
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ |= {"DJANGO_DEBUG": "0", "DJANGO_SECRET_KEY": "benchmark " * 6, "DJANGO_ALLOWED_HOSTS": "127.0.0.1"}

import django

django.setup()

import paho.mqtt.client as mqtt
import psutil
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection, transaction
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from benchmarks.options import Options
from benchmarks.report import Spread, publish
from market.jobs.requests import request_fetches
from market.models import Stock
from mqtt_bridge import outbox
from mqtt_bridge.client import WINDOW
from mqtt_bridge.event_messages import messages_of
from mqtt_bridge.topics import Message
from operations.local.child_processes import spawn, stop, wait_until
from operations.local.mqtt_subscriber import Subscriber
from tasks.delivery import direct
from tasks.models import UNPUBLISHED, Job, JobEvent
from tasks.state import lifecycle
from tasks.wakeup import CHANNEL
from tests.support.servers import MosquittoServer

ROOT = Path(__file__).parents[1]
RATE = 50
"""Events a second while latency is measured."""


def main() -> None:
    options = Options("bridge", __doc__)
    options.add_size("runs", "repetitions", 5, smallest=1)
    options.add_size("events", "events in the backlog", 20_000, smallest=40)
    options.add_size("seconds", "seconds of latency, and idle", 20, smallest=1)
    options.add_argument("--only", choices=PARTS, help="one part")
    arguments = options.parse()
    direct.configure(None, None)
    call_command("migrate", verbosity=0)
    with MosquittoServer(conf=[f"max_inflight_messages {WINDOW}"]) as server:
        for name, part in PARTS.items():
            if arguments.only in (None, name):
                part(server, arguments)


def measure_backlog(server: MosquittoServer, arguments: argparse.Namespace) -> None:
    make_events(arguments.events)
    messages = [message for event in outbox.waiting(arguments.events) for message in messages_of(event, None)]
    figures: dict[str, list[float]] = {}
    with bridge(server):
        for run in range(arguments.runs + 1):
            bare = len(messages) / publish_bare(server, messages)
            ours = len(messages) / relay_backlog()
            if run:  # the first one warms up
                figures.setdefault("bare paho: messages a second", []).append(bare)
                figures.setdefault("bridge: messages a second", []).append(ours)
                figures.setdefault("ratio", []).append(ours / bare)
    report("backlog", f"{arguments.events} events, {len(messages)} messages", figures)


def make_events(count: int) -> None:
    """Four events a job, from created to completed; a job in ten was asked for by a login. All are published."""
    user = User.objects.create_user("reader")
    stocks = Stock.objects.bulk_create(Stock(symbol=f"S{number}") for number in range(count // 4))
    tenth = len(stocks) // 10
    made = request_fetches(stocks[:tenth], Job.Trigger.USER_LOGIN, user).created
    made += request_fetches(stocks[tenth:], Job.Trigger.SCHEDULED_UPDATE).created
    lifecycle.mark_queued([job.pk for job in made])
    with transaction.atomic():
        for job in made:
            claimed = lifecycle.claim(job.pk, "host:worker-1")
            assert claimed
            result = {"symbol": job.symbol, "source": "yahoo_finance", "records_stored": 21, "days_fetched": 21}
            lifecycle.complete(claimed, Job.Outcome.UPDATED, result)


def relay_backlog() -> float:
    """Seconds from the commit of a full outbox to the mark on its last event."""
    wait_until(lambda: not is_waiting(), "the outbox to be empty", timeout=300)
    with transaction.atomic():
        JobEvent.objects.update(published_at=None)
        if connection.vendor == "postgresql":  # the trigger is for events that are new
            connection.cursor().execute(f"NOTIFY {CHANNEL}")
    began = time.time()
    wait_until(lambda: not is_waiting(), "the outbox to be empty", timeout=300, every=0.5)
    newest = JobEvent.objects.order_by("-published_at").values_list("published_at", flat=True)[0]
    assert newest
    return newest.timestamp() - began


def is_waiting() -> bool:
    return JobEvent.objects.filter(UNPUBLISHED).exists()


def publish_bare(server: MosquittoServer, messages: list[Message]) -> float:
    """Seconds that paho takes from the first publish to the last acknowledgement."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.max_inflight_messages_set(0)  # ours is the window
    connected, answered = threading.Event(), threading.Semaphore(WINDOW)
    client.on_connect = lambda *_: connected.set()
    client.on_publish = lambda *_: answered.release()
    client.connect(server.host, server.port)
    client.loop_start()
    assert connected.wait(10)
    began = time.perf_counter()
    for message in messages:
        answered.acquire()
        client.publish(message.topic, message.payload, 1)
    for _ in range(WINDOW):
        answered.acquire()
    seconds = time.perf_counter() - began
    client.disconnect()
    client.loop_stop()
    return seconds


def measure_latency(server: MosquittoServer, arguments: argparse.Namespace) -> None:
    """From just before the commit, which is within the figure, to the subscriber's callback."""
    count = arguments.seconds * RATE
    stocks = Stock.objects.bulk_create(Stock(symbol=f"L{number}") for number in range(count))
    committed: dict[str, float] = {}
    with _Arrivals(server) as arrivals, bridge(server):
        never = threading.Event()
        began = time.perf_counter()
        for number, stock in enumerate(stocks):
            never.wait(began + number / RATE - time.perf_counter())
            with transaction.atomic():
                request_fetches([stock], Job.Trigger.SCHEDULED_UPDATE)
                committed[f"stock/fetch/{stock.symbol}"] = time.perf_counter()
        wait_until(lambda: len(arrivals.moments) >= count, "every event", timeout=60)
    latencies = [(arrivals.moments[topic] - moment) * 1000 for topic, moment in committed.items()]
    report("latency", f"from commit to subscriber at {RATE} events a second", {"ms": latencies})


class _Arrivals(Subscriber):
    """Notes when the first message came on each topic under `stock/`."""

    def __init__(self, server: MosquittoServer) -> None:
        super().__init__(server.host, server.port, "stock/+/+")
        self.moments: dict[str, float] = {}

    def _on_message(self, client: mqtt.Client, data: Any, message: mqtt.MQTTMessage) -> None:
        self.moments.setdefault(message.topic, time.perf_counter())


def measure_idle(server: MosquittoServer, arguments: argparse.Namespace) -> None:
    with bridge(server) as process:
        wait_until(lambda: not is_waiting(), "the outbox to be empty", timeout=300)
        shares = []
        for _ in range(arguments.runs):
            before = process.cpu_times()
            began = time.perf_counter()
            threading.Event().wait(arguments.seconds / arguments.runs)
            after = process.cpu_times()
            used = after.user + after.system - before.user - before.system
            shares.append(100 * used / (time.perf_counter() - began))
    report("idle", "CPU of a bridge that has nothing to do", {"% of a core": shares})


def report(name: str, title: str, figures: dict[str, list[float]]) -> None:
    spread = {label: Spread.of(values) for label, values in figures.items()}
    publish(f"bridge-{name}-{connection.vendor}", f"{title} ({connection.vendor})", "units as named", spread)


@contextmanager
def bridge(server: MosquittoServer) -> Iterator[psutil.Process]:
    """The shipped bridge, connected."""
    log = settings.VAR / f"bridge-{time.monotonic()}.log"
    with log.open("wb") as output:
        process = spawn(
            [sys.executable, "manage.py", "run_mqtt_bridge"],
            cwd=ROOT,
            env=os.environ | {"MQTT_URL": server.url, "PYTHONUNBUFFERED": "1"},
            output=output.fileno(),
        )
        try:
            wait_until_online(server, process)
            yield psutil.Process(process.pid)
        finally:
            stop(process)
    assert "WARNING" not in log.read_text(), log.read_text()


def wait_until_online(server: MosquittoServer, process: "subprocess.Popen[bytes]") -> None:
    """By the state that the bridge publishes: at the log level of production, it does not log that it is connected."""
    with Subscriber(server.host, server.port, settings.JOB_PROCESSOR.queue.mqtt.topics.bridge_state) as state:
        wait_until(
            lambda: [message.payload for message in state.messages[-1:]] == [b"online"],
            "the bridge",
            process=process,
            timeout=60,
        )


PARTS = {"backlog": measure_backlog, "latency": measure_latency, "idle": measure_idle}

if __name__ == "__main__":
    main()
