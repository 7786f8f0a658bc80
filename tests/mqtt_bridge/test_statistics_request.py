"""Statistics that are asked for on MQTT."""

import json
import re
from datetime import timedelta

import pytest
from django.utils import timezone

from market.models import Stock
from mqtt_bridge import statistics
from mqtt_bridge.statistics import StatisticsRequest, answer, parse_request
from tasks.models import JobEvent
from tests.support import asyncapi
from tests.support.jobs import new_job
from tests.support.workers import new_worker

pytestmark = pytest.mark.django_db

MEGABYTE = 1024 * 1024


@pytest.mark.parametrize(
    ("payload", "request_id"),
    [
        (b'{"timestamp": 1795484157, "request_id": "a1"}', "a1"),
        (b'{"timestamp": "now", "request_id": 17}', 17),
        ('{"request_id": "größe", "more": [1]}'.encode(), "größe"),
        (b'{"request_id": null}', None),
        (b"{}", None),
    ],
)
def test_a_request_is_read_and_what_else_it_has_does_not_matter(payload, request_id, caplog):
    assert parse_request(payload) == StatisticsRequest(request_id)
    assert caplog.records == []


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"\x00" * 10, "is not JSON"),
        (b"[" * 1000, "is not JSON"),
        (b"[]", "is not an object"),
        (b'"a1"', "is not an object"),
        (b"null", "is not an object"),
        (b"17", "is not an object"),
        (b"{" + b" " * MEGABYTE + b"}", f"it has {MEGABYTE + 2} bytes"),
        (b'{"request_id": "' + b"x" * 10_000 + b'"}', "it has 10018 bytes"),
        (b'{"request_id": "' + b"x" * 500 + b'"}', "is longer than 200 characters"),
        (b'{"request_id": ' + b"9" * 500 + b"}", "is longer than 200 characters"),
        (b'{"request_id": ["a1"]}', "request_id: ['a1'] is neither"),
        (b'{"request_id": {"a": 1}}', "is neither"),
        (b'{"request_id": true}', "is neither"),
        (b'{"request_id": 1.5}', "is neither"),
        (b'{"request_id": NaN}', "is neither"),
    ],
)
def test_what_is_no_request_is_ignored_with_one_short_line(payload, why, caplog):
    assert parse_request(payload) is None
    (record,) = caplog.records
    assert why in record.getMessage()
    assert "\n" not in record.getMessage()
    assert len(record.getMessage()) < 200


def test_the_answer_tells_depths_workers_outbox_and_freshness(user, hold):
    new_job("AAPL", user=user)  # foreground, priority 3
    new_job("MSFT", "queued", user)
    new_job("GOOG", "running", user)
    new_job("AMZN", "completed", user)
    JobEvent.objects.update(created_at=timezone.now() - timedelta(minutes=2))
    new_worker("alive@here:1")
    new_worker("gone@here:1", heartbeat_at=timezone.now() - timedelta(minutes=5))
    new_worker("stopped@here:1", stopped_at=timezone.now())
    new_worker("alive@here:0", heartbeat_at=timezone.now() - timedelta(minutes=5))  # which alive@here:1 came after
    hold(user, "IINN", "CADL", "ABEO")
    Stock.objects.filter(symbol="IINN").update(checked_at=timezone.now())

    (message,) = answer([StatisticsRequest("a1")])
    assert message[0::2] == ("system/stats", 1)
    assert asyncapi.check(message.topic, message.payload) == ("system_stats", message.qos, message.retain)
    content = json.loads(message.payload)
    assert content.keys() == {
        *("schema", "timestamp", "at", "request_id", "queues", "workers", "outbox", "stocks"),
    }
    assert (content["schema"], content["request_id"]) == ("stockqueue.stats/1", "a1")
    assert abs(content["timestamp"] - timezone.now().timestamp()) < 60
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+\+00:00", content["at"])
    foreground, fetches, analyses = content["queues"]
    assert (foreground["pending"], foreground["queued"], foreground["running"]) == (1, 1, 1)
    assert foreground["priorities"][2] == {"priority": 3, "pending": 1, "queued": 1, "running": 1}
    assert [[one["priority"] for one in queue["priorities"]] for queue in content["queues"]] == [
        [1, 2, 3],
        [4, 5, 6],
        [7, 8, 9, 10],
    ]
    assert [queue["queue"] for queue in (fetches, analyses)] == ["background_fetch", "background_analysis"]
    assert content["workers"] == {"alive": 1, "gone": 1}
    assert content["outbox"]["waiting"] == 4
    assert 120 <= content["outbox"]["oldest_age"] < 180
    assert content["stocks"] == {"fresh": 1, "stale": 2}


def test_an_empty_system_has_statistics_too():
    (message,) = answer([StatisticsRequest(None)])
    asyncapi.check(message.topic, message.payload)
    content = json.loads(message.payload)
    assert content["request_id"] is None
    assert content["outbox"] == {"waiting": 0, "oldest_age": None}
    assert content["stocks"] == {"fresh": 0, "stale": 0}


def test_several_requests_are_answered_with_the_same_figures(monkeypatch, django_assert_max_num_queries):
    with django_assert_max_num_queries(8):
        messages = answer([StatisticsRequest("a"), StatisticsRequest("b"), StatisticsRequest(3)])
    assert [json.loads(message.payload)["request_id"] for message in messages] == ["a", "b", 3]
    monkeypatch.setattr(statistics, "_figures", lambda: pytest.fail("figures that nobody asked for"))
    assert answer([]) == []


def test_half_of_a_surrogate_pair_comes_back_as_it_came():
    asked = parse_request(rb'{"request_id": "\ud800"}')
    assert asked is not None
    (message,) = answer([asked])
    assert json.loads(message.payload)["request_id"] == "\ud800"
