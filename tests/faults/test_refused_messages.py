"""Messages that the broker does not take: they are set aside, visible, and the others flow."""

import json

import pytest
from django.db import transaction

from operations.local.child_processes import wait_until
from tasks.models import Job, JobEvent
from tests.conftest import BRIDGE, output_of
from tests.support.invariants import check_nothing_was_lost
from tests.support.outbox import PATIENCE, arrived, request, unpublished, wait_until_all_is_published, work, worked
from tests.support.servers import MosquittoServer

pytestmark = pytest.mark.django_db(transaction=True)

PROTOCOLS = pytest.mark.parametrize("protocol", ["5", "3.1.1"])
EVERYTHING = "user bridge\ntopic readwrite #\n"
DENIES_QUEUE = "user bridge\ntopic readwrite stock/#\ntopic readwrite stockqueue/#\ntopic write jobs/status/+\n"


def errors_of(job: Job) -> set[str]:
    return set(job.events.values_list("error", flat=True))


@pytest.mark.parametrize("trigger", [Job.Trigger.SCHEDULED_UPDATE, Job.Trigger.USER_REQUEST], ids=["QoS 1", "QoS 2"])
def test_a_topic_that_the_acl_denies_is_an_error_and_the_events_of_other_topics_flow(trigger, start, capsys):
    with MosquittoServer(passwords={"bridge": "secret"}, acl=DENIES_QUEUE) as server:
        url = f"mqtt://bridge:secret@{server.host}:{server.port}"
        with start(*BRIDGE, ready="connected to", MQTT_URL=url) as bridge:
            jobs = request("A", "B", trigger=trigger)
            with transaction.atomic():
                work(jobs)
            wait_until(lambda: "is a dead letter" in output_of(bridge), "the refusal to be told", timeout=PATIENCE)
            wait_until(lambda: not JobEvent.objects.filter(published_at=None, error=""), "an empty outbox")
            refused = JobEvent.objects.exclude(error="")
            assert unpublished(jobs) == set(refused.values_list("pk", flat=True))
            assert {event.event for event in refused} == {"queued", "completed"}
            level = "high" if trigger == Job.Trigger.USER_REQUEST else "normal"
            assert f"jobs/queue/{level}/stock_fetch: Not authorized" in errors_of(jobs[0])
            log = output_of(bridge)
    assert log.count("is a dead letter") <= 2
    assert "secret" not in log


@PROTOCOLS
def test_a_message_that_is_larger_than_the_broker_takes_is_set_aside(protocol, start, subscribe):
    with MosquittoServer(conf=["max_packet_size 20000"]) as server:
        before, large, after = request("FIRST", "LARGE", "LAST")
        Job.objects.filter(pk=large.pk).update(parameters={"symbol": "LARGE", "note": "x" * 30_000})
        with (
            subscribe(server) as seen,
            start(*BRIDGE, ready="connected to", MQTT_URL=f"{server.url}?protocol={protocol}"),
        ):
            work([before, after])
            wait_until_all_is_published([before, after])
            assert seen.wait_for(arrived([before, after]), PATIENCE)
            wait_until(lambda: large.events.exclude(error="").exists(), "the large event to be set aside", timeout=60)
            check_nothing_was_lost(seen.messages, [before, after])
    (error,) = errors_of(large)
    assert "accepts at most 20000" in error if protocol == "5" else "closed the connection" in error


def test_many_events_under_way_when_the_broker_dies_are_not_taken_for_what_killed_it(new_mosquitto, start, subscribe):
    jobs = worked(20)
    with start(*BRIDGE, ready="connected to", MQTT_URL=new_mosquitto.url):
        for _ in range(3):
            new_mosquitto.kill()
            new_mosquitto.start()
        wait_until_all_is_published(jobs)
    assert not JobEvent.objects.exclude(error="")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (
            "result",
            {"symbol": "AAPL", "records_stored": 7, "results": {f"S{n}": {"success": True} for n in range(5000)}},
        ),
        ("error", "no answer " * 20_000),
        ("parameters", {"symbol": "AAPL", "symbols": [f"S{n}" for n in range(20_000)]}),
    ],
    ids=["result", "error", "parameters"],
)
def test_a_payload_over_64_KiB_loses_what_is_long_in_it_and_says_so(field, value, mosquitto_server, start, subscribe):
    (job,) = request("AAPL")
    if field == "parameters":
        Job.objects.filter(pk=job.pk).update(parameters=value)
    else:
        event = job.events.get()
        kind = "completed" if field == "result" else "failed"
        state = {"state": kind, field: value}
        JobEvent.objects.filter(pk=event.pk).update(event=kind, payload=event.payload | state)
    with (
        subscribe(mosquitto_server, "#") as seen,
        start(*BRIDGE, ready="connected to", MQTT_URL=mosquitto_server.url),
    ):
        wait_until_all_is_published([job])
        assert seen.wait_for(arrived([job]), PATIENCE)
    payloads = [json.loads(message.payload) for message in seen.messages if message.topic.startswith("stock/")]
    assert all(len(message.payload) <= 65_536 for message in seen.messages)
    (payload,) = payloads
    assert payload["truncated"] == [field]
    assert isinstance(payload[field], type(value))
    if isinstance(value, dict):
        assert payload[field]["symbol"] == "AAPL"
