"""Several bridges: one publishes, and another one takes over when it ends, dies or hangs."""

import signal

import pytest

from mqtt_bridge.models import BridgeLease
from operations.local.child_processes import wait_until
from tests.conftest import BRIDGE, output_of
from tests.support.invariants import check_nothing_was_lost
from tests.support.outbox import PATIENCE, STATE, arrived, kill, request, wait_until_all_is_published, work, worked

pytestmark = pytest.mark.django_db(transaction=True)

TAKEOVER = 30.0
"""Seconds within which a hung bridge is replaced."""


def holder() -> str:
    return BridgeLease.objects.get().holder


def test_one_of_two_bridges_publishes(mosquitto_server, start, subscribe):
    url = mosquitto_server.url
    with (
        subscribe(mosquitto_server) as seen,
        start(*BRIDGE, ready="connected to", MQTT_URL=url) as first,
        start(*BRIDGE, ready="standing by", MQTT_URL=url) as second,
    ):
        jobs = worked(4)
        wait_until_all_is_published(jobs)
        assert seen.wait_for(arrived(jobs), PATIENCE)
        assert len(seen.messages) == 16
        assert holder().endswith(f":{first.pid}")
        assert "connected to" not in output_of(second)


@pytest.mark.parametrize("end", ["SIGTERM", "SIGKILL"])
def test_the_other_bridge_takes_over_at_once_when_the_first_one_ends(end, mosquitto_server, start, subscribe):
    url = mosquitto_server.url
    with (
        subscribe(mosquitto_server) as seen,
        start(*BRIDGE, ready="connected to", MQTT_URL=url) as first,
        start(*BRIDGE, ready="standing by", MQTT_URL=url) as second,
    ):
        early = worked(3)
        wait_until_all_is_published(early)
        first.send_signal(signal.Signals[end])
        first.wait(10)
        late = request("LATE")
        work(late)
        wait_until(lambda: "connected to" in output_of(second), "the second bridge", timeout=10)
        assert seen.wait_for(arrived(early + late), PATIENCE)
        check_nothing_was_lost(seen.messages, early + late)


def test_a_bridge_that_hangs_is_replaced_and_when_it_wakes_it_stands_by(mosquitto_server, start, subscribe):
    url = mosquitto_server.url
    with (
        subscribe(mosquitto_server) as seen,
        subscribe(mosquitto_server, STATE) as state,
        start(*BRIDGE, ready="connected to", MQTT_URL=url) as first,
        start(*BRIDGE, ready="standing by", MQTT_URL=url) as second,
    ):
        early = worked(2)
        wait_until_all_is_published(early)
        first.send_signal(signal.SIGSTOP)
        try:
            late = request("LATE")
            wait_until(lambda: "connected to" in output_of(second), "the second bridge", timeout=TAKEOVER)
            assert seen.wait_for(arrived(late), PATIENCE)
        finally:
            first.send_signal(signal.SIGCONT)
        wait_until(lambda: "standing by" in output_of(first), "the first bridge to give way", timeout=PATIENCE)
        work(late)
        assert seen.wait_for(arrived(early + late), PATIENCE)
        check_nothing_was_lost(seen.messages, early + late)
        assert holder().endswith(f":{second.pid}")
        # The broker tells of the first one's end before it accepts the second one.
        assert state.messages[-1].payload == b"online"


def test_a_bridge_that_is_started_again_after_its_death_does_not_wait(mosquitto_server, start):
    with start(*BRIDGE, ready="connected to", MQTT_URL=mosquitto_server.url) as bridge:
        kill(bridge)
    assert holder()
    with start(*BRIDGE, ready="connected to", MQTT_URL=mosquitto_server.url) as bridge:
        assert "standing by" not in output_of(bridge)


def test_a_bridge_without_a_broker_leaves_the_lead_to_one_that_has_one(mosquitto_server, new_mosquitto, start):
    new_mosquitto.stop()
    with (
        start(*BRIDGE, ready="waiting: ", MQTT_URL=new_mosquitto.url),
        start(*BRIDGE, ready="connected to", MQTT_URL=mosquitto_server.url),
    ):
        jobs = worked(2)
        wait_until_all_is_published(jobs)


def test_the_state_says_whether_a_bridge_publishes(mosquitto_server, start, subscribe):
    def states(subscriber):
        return [message.payload for message in subscriber.messages]

    with (
        start(*BRIDGE, ready="connected to", MQTT_URL=mosquitto_server.url),
        subscribe(mosquitto_server, STATE) as seen,
    ):
        assert seen.wait_for(lambda messages: len(messages) == 1, PATIENCE)
    assert seen.messages[0].retained
    with subscribe(mosquitto_server, STATE) as after:
        assert after.wait_for(lambda messages: len(messages) == 1, PATIENCE)
        with start(*BRIDGE, ready="connected to", MQTT_URL=mosquitto_server.url) as bridge:
            kill(bridge)
        assert after.wait_for(lambda messages: len(messages) == 3, PATIENCE)
    assert states(seen) == [b"online"]
    assert states(after) == [b"offline", b"online", b"offline"]
