"""docs/asyncapi.yaml is a sound AsyncAPI 3 document, has every topic, and tells right messages from wrong ones."""

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from stockqueue.config.topics import Topics
from tests.support import asyncapi

DOCUMENT = asyncapi.load()
JOB_TOPIC = "jobs/status/5f3a5a0e-6c0b-4b1e-9f39-2f1f6d9f2f11"
ALERT = {
    "schema": "stockqueue.alert/1",
    "name": "queue-depth",
    "state": "raised",
    "text": "1204 jobs wait in one queue; the threshold is 1000.",
    "value": 1204.0,
    "worst": 1204.0,
    "threshold": 1000.0,
    "since": 1,
    "timestamp": 61,
    "at": "2026-11-24T01:35:57+00:00",
}
PRICE_ALERT = {
    "schema": "stockqueue.price_alert/1",
    "event_id": "5f3a5a0e-6c0b-4b1e-9f39-2f1f6d9f2f11",
    "user_id": 7,
    "symbol": "AAPL",
    "kind": "above",
    "threshold": 200.0,
    "currency": "USD",
    "price": 201.5,
    "change_percent": None,
    "timestamp": 61,
    "at": "2026-11-24T01:35:57+00:00",
}
EVENT = {
    "id": "5f3a5a0e-6c0b-4b1e-9f39-2f1f6d9f2f11",
    "job_type": "stock_fetch",
    "subtype": "portfolio_priority",
    "user_id": 1,
    "symbol": "MSFT",
    "priority": 1,
    "status": "running",
    "created_at": 1795484157,
    "attempts": 1,
    "parameters": {"symbol": "MSFT", "days": 30, "data_age_minutes": None},
    "metadata": {
        "user_id": 1,
        "symbol": "MSFT",
        "batch_size": 1,
        "request_source": "user_login",
        "created_by": "stockqueue",
    },
    "schema": "stockqueue.job/1",
    "event_id": 11,
    "seq": 3,
    "event": "started",
    "job_id": "5f3a5a0e-6c0b-4b1e-9f39-2f1f6d9f2f11",
    "state": "running",
    "queue": "foreground",
    "attempt": 1,
    "trigger": "user_login",
    "worker_id": "celery@vm",
    "timestamp": 1795484157,
    "at": "2026-11-24T01:35:57.831111+00:00",
}
ENDED_WELL = {
    "event": "completed",
    "status": "completed",
    "state": "completed",
    "result": {"symbol": "MSFT", "source": "yahoo_finance", "records_stored": 21, "days_fetched": 21},
    "completed_at": 1795484157,
}
ENDED_BADLY = {
    "event": "failed",
    "status": "failed",
    "state": "failed",
    "error": "no answer",
    "failed_at": 1795484157,
    "retry": False,
}
RETRIED = ENDED_BADLY | {"event": "retried", "status": "pending", "state": "pending", "retry": True}


def without(payload: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in payload.items() if name not in names}


def walk(node: Any) -> Iterator[dict[str, Any]]:
    """Every mapping in the document."""
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from walk(child)


def test_every_reference_leads_to_something():
    references = [node["$ref"] for node in walk(DOCUMENT) if "$ref" in node]
    for reference in references:
        assert reference.startswith("#/")
        assert asyncapi.resolve({"$ref": reference})
    used = set(references)
    for kind, components in DOCUMENT["components"].items():
        assert {f"#/components/{kind}/{name}" for name in components} <= used


def test_every_payload_is_described_by_a_valid_schema():
    for name, schema in DOCUMENT["components"]["schemas"].items():
        jsonschema.Draft7Validator.check_schema(schema)
        # A property that is required and not described would be a slip of the pen.
        assert set(schema.get("required", ())) <= set(schema.get("properties", ())), name
    for message in DOCUMENT["components"]["messages"].values():
        jsonschema.Draft7Validator.check_schema(message["payload"])


def test_every_channel_has_its_parameters_a_message_and_one_operation():
    operated = sorted(operation["channel"]["$ref"] for operation in DOCUMENT["operations"].values())
    assert operated == sorted(f"#/channels/{name}" for name in DOCUMENT["channels"])
    for channel in DOCUMENT["channels"].values():
        assert set(channel) <= {"address", "description", "parameters", "messages"}
        assert set(channel.get("parameters", ())) == set(re.findall(r"\{(\w+)\}", channel["address"]))
        assert len(channel["messages"]) == 1
    for operation in DOCUMENT["operations"].values():
        assert set(operation) <= {"action", "channel", "bindings", "reply"}
        assert operation["action"] in ("send", "receive")
        assert set(asyncapi.resolve(operation["bindings"])["mqtt"]) == {"qos", "retain", "bindingVersion"}


def test_channels_are_the_default_topics():
    addresses = {name: channel["address"] for name, channel in DOCUMENT["channels"].items()}
    assert addresses.pop("job_queue_high") == addresses["job_queue"].replace("{priority}", "high")
    assert addresses == dict(Topics())


def test_only_workers_that_come_and_the_bridges_state_are_retained():
    retained = {
        operation["channel"]["$ref"]
        for operation in DOCUMENT["operations"].values()
        if asyncapi.resolve(operation["bindings"])["mqtt"]["retain"]
    }
    assert retained == {"#/channels/worker_register", "#/channels/bridge_state"}


@pytest.mark.parametrize(
    ("topic", "payload", "channel"),
    [
        ("stock/fetch/MSFT", EVENT, ("stock_fetch", 1, False)),
        ("stock/fetch/batch", EVENT | {"job_type": "stock_batch_fetch"}, ("stock_batch_fetch", 1, False)),
        ("stock/portfolio/priority/7", EVENT | {"user_id": None}, ("portfolio_priority", 1, False)),
        (JOB_TOPIC, EVENT | ENDED_WELL | {"more": [1]}, ("job_status", 1, False)),
        (JOB_TOPIC, EVENT | RETRIED, ("job_status", 1, False)),
        ("jobs/failed/1", EVENT | RETRIED | {"status": "failed"}, ("job_failed", 1, False)),
        (
            "jobs/queue/high/stock_fetch",
            EVENT | {"event": "queued", "state": "queued", "status": "pending"},
            ("job_queue_high", 2, False),
        ),
        (
            "jobs/queue/low/stock_analysis",
            EVENT | {"event": "queued", "state": "queued", "status": "pending"},
            ("job_queue", 1, False),
        ),
        ("workers/register", {"worker_id": "celery@vm", "timestamp": 1, "pid": 7}, ("worker_register", 1, True)),
        ("workers/unregister", {"worker_id": "celery@vm", "timestamp": 1}, ("worker_unregister", 1, False)),
        (
            "workers/heartbeat/celery@vm",
            {"worker_id": "celery@vm", "timestamp": 1, "status": "alive"},
            ("worker_heartbeat", 0, False),
        ),
        (
            "workers/disconnect",
            {"client_id": "celery@vm", "timestamp": 1, "reason": "unexpected"},
            ("worker_disconnect", 1, False),
        ),
        ("system/stats/request", {"timestamp": 1, "request_id": "a"}, ("system_stats_request", 1, False)),
        ("system/stats", {"timestamp": 1, "request_id": None, "queues": []}, ("system_stats", 1, False)),
        ("system/alerts/queue-depth", ALERT, ("system_alert", 1, False)),
        ("stockqueue/alerts/7/AAPL", PRICE_ALERT, ("price_alert", 1, False)),
        ("stockqueue/bridge/state", "online", ("bridge_state", 1, True)),
    ],
)
def test_a_right_message_belongs_to_its_channel(topic, payload, channel):
    encoded = payload if isinstance(payload, str) else json.dumps(payload)
    assert asyncapi.check(topic, encoded.encode()) == channel


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        *[(JOB_TOPIC, without(EVENT, name)) for name in EVENT],
        (JOB_TOPIC, EVENT | {"priority": "1"}),
        (JOB_TOPIC, EVENT | {"id": "1"}),
        (JOB_TOPIC, EVENT | {"at": "2026-11-24T01:35:57"}),
        (JOB_TOPIC, EVENT | {"timestamp": 1.5}),
        (JOB_TOPIC, EVENT | {"state": "queued"}),
        (JOB_TOPIC, EVENT | without(ENDED_WELL, "result")),
        (JOB_TOPIC, EVENT | without(ENDED_WELL, "completed_at")),
        (JOB_TOPIC, EVENT | ENDED_WELL | {"result": {"symbol": "MSFT"}}),
        (JOB_TOPIC, EVENT | without(ENDED_BADLY, "error")),
        (JOB_TOPIC, EVENT | without(ENDED_BADLY, "failed_at")),
        (JOB_TOPIC, EVENT | without(ENDED_BADLY, "retry")),
        (JOB_TOPIC, EVENT | ENDED_BADLY | {"retry": True}),
        (JOB_TOPIC, EVENT | RETRIED | {"status": "failed"}),
        ("jobs/failed/1", EVENT | RETRIED),
        ("jobs/failed/1", EVENT | ENDED_WELL),
        ("stock/analysis/MSFT", EVENT),
        ("workers/heartbeat/celery@vm", {"worker_id": "celery@vm", "timestamp": 1, "status": "dead"}),
        *[("stockqueue/alerts/7/AAPL", without(PRICE_ALERT, name)) for name in PRICE_ALERT],
        ("stockqueue/bridge/state", "gone"),
    ],
)
def test_a_wrong_message_is_told(topic, payload):
    encoded = payload if isinstance(payload, str) else json.dumps(payload)
    with pytest.raises(jsonschema.ValidationError):
        asyncapi.check(topic, encoded.encode())


@pytest.mark.parametrize("topic", ["stock/fetch", "stock/fetch/A/B", "jobs/queue/urgent/stock_fetch", "orders"])
def test_a_topic_that_is_not_ours_is_told(topic):
    with pytest.raises(AssertionError, match="is no channel's address"):
        asyncapi.check(topic, b"{}")
