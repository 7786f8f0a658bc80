"""Which topics tell of an event, and what the messages say, without a broker."""

import json
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from market.jobs.requests import request_fetches
from market.models import Stock
from mqtt_bridge.payloads import for_topic, lifecycle_payload
from mqtt_bridge.topics import InvalidTopic, lifecycle_targets
from stockqueue.config.topics import Topics
from tasks.models import Job, JobEvent
from tasks.state import lifecycle
from tests.support import asyncapi

pytestmark = pytest.mark.django_db

NEXT_STATE = {
    "created": "pending",
    "queued": "queued",
    "started": "running",
    "progress": "running",
    "retried": "pending",
    "promoted": "queued",
    "completed": "completed",
    "failed": "failed",
    "expired": "expired",
    "cancelled": "cancelled",
}
PREDECESSORS_STATUS = {
    "pending": "pending",
    "queued": "pending",
    "running": "running",
    "completed": "completed",
    "failed": "failed",
    "expired": "failed",
    "cancelled": "failed",
}
RESULT = {"symbol": "AAPL", "records_stored": 21, "days_fetched": 21, "source": "yahoo_finance"}

PREDECESSORS_FIELDS = {
    "id": str,
    "job_type": str,
    "subtype": str,
    "user_id": int,
    "symbol": str,
    "priority": int,
    "status": str,
    "created_at": int,
    "attempts": int,
    "parameters": dict,
    "metadata": dict,
}
NEW_FIELDS = {
    "schema": str,
    "event_id": int,
    "seq": int,
    "event": str,
    "job_id": str,
    "state": str,
    "queue": str,
    "attempt": int,
    "trigger": str,
    "worker_id": str,
    "timestamp": int,
    "at": str,
}
FIELDS_OF_A_FAILURE = {"error": str, "failed_at": int, "retry": bool}
FIELDS_OF_AN_EVENT: dict[str, dict[str, type]] = {
    "completed": {"result": dict, "completed_at": int},
    "retried": FIELDS_OF_A_FAILURE,
    "failed": FIELDS_OF_A_FAILURE,
    "expired": FIELDS_OF_A_FAILURE,
    "cancelled": FIELDS_OF_A_FAILURE,
}

EventOf = Callable[..., JobEvent]


@pytest.fixture
def event_of(user) -> EventOf:
    """event_of("failed"): such an event of a fetch that `user` asked for by logging in.

    The lifecycle writes it where it knows how to; the other events are written as it would.
    """

    def event_of(kind: str, symbol: str = "AAPL") -> JobEvent:
        stock = Stock.objects.create(symbol=symbol)
        job = request_fetches([stock], Job.Trigger.USER_LOGIN, user).created[0]
        if kind == "queued":
            lifecycle.mark_queued([job.pk])
        elif kind not in ("created", "promoted", "cancelled", "expired"):
            claimed = lifecycle.claim(job.pk, "host:worker-1")
            assert claimed is not None
            if kind == "completed":
                lifecycle.complete(claimed, Job.Outcome.UPDATED, RESULT)
            elif kind == "failed":
                lifecycle.fail(claimed, "no answer")
        job.refresh_from_db()
        newest = job.events.latest("seq")
        if newest.event != kind:
            facts = newest.payload | {"state": NEXT_STATE[kind]}
            if kind in FIELDS_OF_AN_EVENT:
                facts["error"] = "no answer"
            newest = JobEvent.objects.create(job=job, seq=newest.seq + 1, event=kind, payload=facts)
        return newest

    return event_of


def topics_of(event: JobEvent, login_user_ids: tuple[int, ...] = ()) -> Counter[tuple[str, int]]:
    return Counter((target.topic, target.qos) for target in lifecycle_targets(event, list(login_user_ids)))


def message_on(event: JobEvent, template: str) -> dict[str, Any]:
    """What arrives on the topic of this template."""
    names = [target.template for target in lifecycle_targets(event, [])]
    assert template in names
    decoded: dict[str, Any] = json.loads(for_topic(lifecycle_payload(event), template).decode())
    return decoded


@pytest.mark.parametrize(
    ("kind", "further"),
    [
        ("created", []),
        ("queued", [("jobs/queue/high/stock_fetch", 2)]),
        ("started", []),
        ("progress", []),
        ("promoted", []),
        ("retried", [("jobs/failed/{id}", 1), ("jobs/retry/{id}", 1)]),
        ("completed", [("jobs/completed/{id}", 1)]),
        ("failed", [("jobs/failed/{id}", 1)]),
        ("expired", [("jobs/failed/{id}", 1)]),
        ("cancelled", [("jobs/failed/{id}", 1)]),
    ],
)
def test_an_event_goes_to_its_topics_and_to_no_others(kind, further, event_of):
    event = event_of(kind)
    always = [("stock/fetch/AAPL", 1), ("jobs/status/{id}", 1)]
    expected = Counter((topic.format(id=event.job_id), qos) for topic, qos in always + further)
    assert topics_of(event) == expected


def test_a_job_that_has_to_wait_tells_for_what_and_is_not_reported_as_failed(event_of):
    job = lifecycle.claim(event_of("created").job_id, "host:worker-1")
    assert job is not None
    until = timezone.now() + timedelta(minutes=1)
    lifecycle.snooze(job, "Yahoo Finance's rate limit", until)
    event = job.events.latest("seq")
    assert set(topics_of(event)) == {("stock/fetch/AAPL", 1), (f"jobs/status/{job.pk}", 1)}
    for target in lifecycle_targets(event, []):
        payload = for_topic(lifecycle_payload(event), target.template)
        asyncapi.check(target.topic, payload)
        told = json.loads(payload)
        assert (told["event"], told["state"], told["status"]) == ("progress", "pending", "pending")
        assert (told["waiting_for"], told["until"]) == ("Yahoo Finance's rate limit", until.isoformat())


def test_each_requester_who_logged_in_is_told_on_a_topic_of_their_own(event_of):
    event = event_of("created")
    without = topics_of(event)
    expected = Counter([("stock/portfolio/priority/7", 1), ("stock/portfolio/priority/12", 1)])
    assert topics_of(event, (7, 12)) - without == expected


@pytest.mark.parametrize(
    ("job_type", "topic"),
    [
        ("stock_fetch", "stock/fetch/BRK-B"),
        ("stock_batch_fetch", "stock/fetch/batch"),
        ("stock_analysis", "stock/analysis/BRK-B"),
        ("stock_research", "stock/research/BRK-B"),
    ],
)
def test_the_job_type_chooses_the_first_topic(job_type, topic, event_of):
    event = event_of("queued", "BRK-B")
    event.job.job_type = job_type
    assert topics_of(event)[topic, 1] == 1
    assert topics_of(event)[f"jobs/queue/high/{job_type}", 2] == 1


@pytest.mark.parametrize(
    ("priority", "topic", "qos"),
    [
        *[(priority, "jobs/queue/high/stock_fetch", 2) for priority in (1, 2, 3)],
        *[(priority, "jobs/queue/normal/stock_fetch", 1) for priority in (4, 5, 6)],
        *[(priority, "jobs/queue/low/stock_fetch", 1) for priority in (7, 8, 9, 10)],
    ],
)
def test_the_priority_at_that_moment_chooses_the_queue_topic(priority, topic, qos, event_of):
    event = event_of("queued")
    event.payload["priority"] = priority
    assert [found for found in topics_of(event) if found[0].startswith("jobs/queue/")] == [(topic, qos)]
    assert message_on(event, "job_queue")["priority"] == priority


def test_three_levels_under_stock_carry_lifecycle_events_alone(event_of):
    three_levels = {
        name
        for name, topic in Topics()
        if topic.startswith("stock/") and topic.replace("{symbol}", "A").count("/") == 2
    }
    assert three_levels == {"stock_fetch", "stock_batch_fetch", "stock_analysis", "stock_research"}
    for number, kind in enumerate(NEXT_STATE):
        targets = lifecycle_targets(event_of(kind, f"S{number}"), [1, 2])
        seen = [
            target.topic for target in targets if target.topic.startswith("stock/") and target.topic.count("/") == 2
        ]
        assert seen == [f"stock/fetch/S{number}"]


@pytest.mark.parametrize(
    "symbol",
    ["", "A/B", "A+", "#", "A\0", "A\n", "A\x7f", "A\x85", "A\ufffe", "A\udc80", "A" * 70_000],
    ids=["empty", "slash", "plus", "hash", "NUL", "newline", "DEL", "C1", "no character", "surrogate", "70 KB"],
)
def test_a_symbol_that_cannot_be_a_level_of_a_topic_is_refused(symbol, event_of):
    event = event_of("created")
    event.job.symbol = symbol
    with pytest.raises(InvalidTopic, match="stock_fetch"):
        lifecycle_targets(event, [])


@pytest.mark.parametrize("symbol", ["BRK-B", "^GSPC", "EURUSD=X", "M&M.NS", "0700.HK"])
def test_a_symbol_of_yahoo_is_a_level_of_a_topic_as_it_stands(symbol, event_of):
    assert topics_of(event_of("created", symbol))[f"stock/fetch/{symbol}", 1] == 1


def test_a_topic_that_a_symbol_turns_into_one_of_the_brokers_own_is_refused(event_of, configure):
    configure(**{"queue.mqtt.topics.stock_fetch": "{symbol}/fetch"})
    event = event_of("created")
    assert topics_of(event)["AAPL/fetch", 1] == 1
    event.job.symbol = "$SYS"
    with pytest.raises(InvalidTopic):
        lifecycle_targets(event, [])


def test_configured_templates_are_honoured(event_of, configure):
    templates = {
        "stock_fetch": "boerse/kurse/{symbol}",
        "job_status": "auftrag/{job_id}/stand",
        "job_queue": "wartet/{job_type}/{priority}",
        "portfolio_priority": "depot/{user_id}",
    }
    configure(**{f"queue.mqtt.topics.{name}": template for name, template in templates.items()})
    event = event_of("queued")
    assert topics_of(event, (7,)) == Counter(
        [
            ("boerse/kurse/AAPL", 1),
            (f"auftrag/{event.job_id}/stand", 1),
            ("wartet/stock_fetch/high", 2),
            ("depot/7", 1),
        ]
    )


@pytest.mark.parametrize("kind", NEXT_STATE)
def test_every_message_of_an_event_is_what_the_asyncapi_document_says(kind, event_of):
    event = event_of(kind)
    payload = lifecycle_payload(event)
    for target in lifecycle_targets(event, [7]):
        channel = asyncapi.check(target.topic, for_topic(payload, target.template))
        assert (channel.name.removesuffix("_high"), channel.qos, channel.retain) == (
            target.template,
            target.qos,
            False,
        )


@pytest.mark.parametrize("job_type", Job.Type)
def test_a_job_of_each_type_has_its_channel_in_the_asyncapi_document(job_type, event_of):
    event = event_of("queued")
    event.job.job_type = job_type
    payload = lifecycle_payload(event)
    for target in lifecycle_targets(event, []):
        asyncapi.check(target.topic, for_topic(payload, target.template))


@pytest.mark.parametrize("kind", NEXT_STATE)
def test_a_message_has_every_field_of_its_event_with_its_type(kind, event_of):
    payload = lifecycle_payload(event_of(kind))
    expected = PREDECESSORS_FIELDS | NEW_FIELDS | FIELDS_OF_AN_EVENT.get(kind, {})
    decoded = json.loads(for_topic(payload, "stock_fetch"))
    assert {name: type(value) for name, value in decoded.items()} == expected


def test_a_message_says_what_happened(event_of, user):
    event = event_of("completed")
    job = event.job
    payload = message_on(event, "job_completed")
    created, now = int(job.created_at.timestamp()), int(event.created_at.timestamp())
    at = datetime.fromisoformat(payload.pop("at"))
    assert (at, at.utcoffset()) == (event.created_at, timedelta(0))
    assert payload == {
        "id": str(job.pk),
        "job_type": "stock_fetch",
        "subtype": "portfolio_priority",
        "user_id": user.pk,
        "symbol": "AAPL",
        "priority": job.priority,
        "status": "completed",
        "created_at": created,
        "attempts": 1,
        "parameters": {
            "symbol": "AAPL",
            "days": 30,
            "source": "yahoo_finance",
            "triggered_by": "user_login",
            "data_age_minutes": None,
        },
        "metadata": {
            "user_id": user.pk,
            "symbol": "AAPL",
            "batch_size": 1,
            "request_source": "user_login",
            "created_by": "stockqueue",
        },
        "schema": "stockqueue.job/1",
        "event_id": event.pk,
        "seq": 4,
        "event": "completed",
        "job_id": str(job.pk),
        "state": "completed",
        "queue": "foreground",
        "attempt": 1,
        "trigger": "user_login",
        "worker_id": "host:worker-1",
        "timestamp": now,
        "result": RESULT,
        "completed_at": now,
    }


def test_an_event_is_told_as_it_was_and_not_as_the_job_is_now(event_of):
    event = event_of("completed").job.events.get(event="created")
    payload = lifecycle_payload(event)
    assert (payload["state"], payload["status"], payload["attempt"], payload["worker_id"]) == (
        "pending",
        "pending",
        0,
        "",
    )
    assert "result" not in payload


def test_a_batch_tells_how_many_symbols_it_has(event_of):
    event = event_of("created")
    event.job.job_type, event.job.symbol = "stock_batch_fetch", ""
    event.job.parameters = {"symbols": ["AAPL", "MSFT", "BRK-B"]}
    assert message_on(event, "stock_batch_fetch")["metadata"]["batch_size"] == 3


def test_a_job_that_no_user_asked_for_has_null_as_its_user():
    stock = Stock.objects.create(symbol="AAPL")
    job = request_fetches([stock], Job.Trigger.SCHEDULED_UPDATE).created[0]
    payload = lifecycle_payload(job.events.get())
    assert payload["user_id"] is None
    assert payload["metadata"]["user_id"] is None
    assert payload["subtype"] == "scheduled_update"


@pytest.mark.parametrize("kind", NEXT_STATE)
def test_the_status_is_one_of_the_predecessors_four_beside_our_own_state(kind, event_of):
    payload = message_on(event_of(kind), "stock_fetch")
    assert payload["state"] == NEXT_STATE[kind]
    assert payload["status"] == PREDECESSORS_STATUS[payload["state"]]


@pytest.mark.parametrize("kind", ["retried", "failed", "expired", "cancelled"])
def test_the_failed_topic_says_failed_and_whether_another_attempt_follows(kind, event_of):
    payload = message_on(event_of(kind), "job_failed")
    assert payload["status"] == "failed"
    assert payload["retry"] is (kind == "retried")
    assert payload["error"] == "no answer"


def test_the_other_topics_of_a_retry_say_pending(event_of):
    event = event_of("retried")
    for template in ("stock_fetch", "job_status", "job_retry"):
        payload = message_on(event, template)
        assert (payload["status"], payload["retry"]) == ("pending", True)


@pytest.mark.parametrize("error", ["Börse zu 📉", 'a "quoted"\nline', "half a pair: \ud83d"])
def test_whatever_an_error_says_is_valid_json_in_utf_8(error, event_of):
    event = event_of("failed")
    event.payload["error"] = error
    assert message_on(event, "job_failed")["error"] == error


def test_moments_are_whole_unix_seconds(event_of):
    event = event_of("failed")
    event.created_at = timezone.now().replace(microsecond=999_999)
    payload = lifecycle_payload(event)
    assert payload["timestamp"] == payload["failed_at"] == int(event.created_at.timestamp())
