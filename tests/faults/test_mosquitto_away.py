"""mosquitto is away, or dies again and again: events wait in the database, then arrive in order."""

import threading
import time
from contextlib import ExitStack
from functools import partial

import pytest

from operations.local.child_processes import wait_until
from operations.local.mqtt_subscriber import Message
from tasks.models import Job
from tests.conftest import BRIDGE
from tests.support.invariants import check_nothing_was_lost, event_ids
from tests.support.lasting_subscriber import LastingSubscriber
from tests.support.outbox import PATIENCE, arrived, kill, request, unpublished, wait_until_all_is_published, work

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("outage", [20, pytest.param(600, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
def test_what_happens_while_mosquitto_is_down_arrives_when_it_is_back(outage, new_mosquitto, start):
    never = threading.Event()
    with (
        LastingSubscriber(new_mosquitto.host, new_mosquitto.port, "stock/+/+") as seen,
        start(*BRIDGE, ready="connected to", MQTT_URL=new_mosquitto.url) as bridge,
    ):
        jobs = request("BEFORE")
        wait_until_all_is_published(jobs)
        new_mosquitto.stop()
        back = time.monotonic() + outage
        while time.monotonic() < back:
            during = request(f"S{len(jobs)}")
            work(during)
            jobs += during
            never.wait(1)
        assert event_ids(jobs[1:]) <= unpublished(jobs)
        new_mosquitto.start()
        assert seen.wait_for(arrived(jobs), PATIENCE)
        wait_until_all_is_published(jobs)
        check_nothing_was_lost(seen.messages, jobs)
        assert bridge.poll() is None


@pytest.mark.timeout(600)
def test_a_thousand_jobs_while_mosquitto_dies_three_times_and_the_bridge_twice(new_mosquitto, start):
    jobs: list[Job] = []
    with LastingSubscriber(new_mosquitto.host, new_mosquitto.port, "stock/+/+") as seen, ExitStack() as bridges:

        def start_bridge():
            return bridges.enter_context(start(*BRIDGE, ready="connected to", MQTT_URL=new_mosquitto.url))

        new_mosquitto.save()
        bridge = start_bridge()
        for death in ("mosquitto", "bridge", "mosquitto", "bridge", "mosquitto"):
            before = len(seen.messages)
            some = request(*(f"S{len(jobs) + number}" for number in range(200)))
            jobs += some
            work(some)
            assert seen.wait_for(partial(_are_more_than, before), PATIENCE)
            if death == "mosquitto":
                new_mosquitto.kill()
                new_mosquitto.start()
            else:
                kill(bridge)
                bridge = start_bridge()
        wait_until(lambda: not unpublished(jobs), "the outbox to be empty", timeout=120)
        assert seen.wait_for(arrived(jobs), PATIENCE)
        check_nothing_was_lost(seen.messages, jobs)
    assert len(event_ids(jobs)) == 4000


def _are_more_than(count: int, messages: list[Message]) -> bool:
    return len(messages) > count
