"""Raised price alerts on MQTT: through the real bridge and mosquitto, at least once."""

import json
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User

from operations import price_alerts
from operations.local.child_processes import wait_until
from portfolio.models import PriceAlertNotice
from portfolio.price_alerts.setting import set_alert
from tasks.state.crash_points import VARIABLE
from tests.conftest import BRIDGE, output_of
from tests.support.asyncapi import check
from tests.support.outbox import PATIENCE
from tests.support.prices import store_closes
from tests.support.servers import MosquittoServer

pytestmark = pytest.mark.django_db(transaction=True)

TOPICS = "stockqueue/alerts/#"
WITHOUT_ALERTS = "user bridge\ntopic write stock/#\ntopic write stockqueue/bridge/state\ntopic write system/#\n"


def raise_alert(user: User, symbol: str = "AAPL") -> PriceAlertNotice:
    set_alert(user, store_closes(symbol, 100, 100), "above", Decimal(110))
    store_closes(symbol, 100, 112.5)
    return PriceAlertNotice.objects.get(stock__symbol=symbol)


def is_published(notice: PriceAlertNotice) -> Any:
    return PriceAlertNotice.objects.filter(pk=notice.pk, published_at__isnull=False).exists


def test_a_raised_alert_is_published_once_with_its_facts_and_without_a_name(mosquitto_server, start, subscribe, user):
    with (
        start(*BRIDGE, ready="connected to", MQTT_URL=mosquitto_server.url),
        subscribe(mosquitto_server, TOPICS) as seen,
    ):
        notice = raise_alert(user)
        other = raise_alert(user, "^GSPC")
        wait_until(is_published(notice), "the mark", timeout=PATIENCE)
        wait_until(is_published(other), "the mark", timeout=PATIENCE)
        assert seen.wait_for(lambda messages: len(messages) == 2, PATIENCE)
    first, second = seen.messages
    assert first.topic == f"stockqueue/alerts/{user.pk}/AAPL"
    assert not first.retained
    assert json.loads(first.payload) == {
        "schema": "stockqueue.price_alert/1",
        "event_id": str(notice.event_id),
        "user_id": user.pk,
        "symbol": "AAPL",
        "kind": "above",
        "threshold": 110.0,
        "currency": "USD",
        "price": 112.5,
        "change_percent": 12.5,
        "timestamp": int(notice.at.timestamp()),
        "at": notice.at.isoformat(),
    }
    assert second.topic == f"stockqueue/alerts/{user.pk}/^GSPC"
    assert json.loads(second.payload)["symbol"] == "^GSPC"
    for message in seen.messages:
        check(message.topic, message.payload)
        assert user.username.encode() not in message.payload


def test_an_alert_raised_without_a_broker_is_published_later(new_mosquitto, start, subscribe, user):
    new_mosquitto.stop()
    with start(*BRIDGE, ready="waiting", MQTT_URL=new_mosquitto.url):
        notice = raise_alert(user)
        new_mosquitto.start()
        wait_until(is_published(notice), "the mark", timeout=PATIENCE)


def test_a_bridge_that_dies_before_the_mark_publishes_again_with_the_same_id(mosquitto_server, start, subscribe, user):
    notice = raise_alert(user)
    with subscribe(mosquitto_server, TOPICS) as seen:
        with start(*BRIDGE, ready="connected to", MQTT_URL=mosquitto_server.url, **{VARIABLE: "announced"}) as bridge:
            assert bridge.wait(PATIENCE) == -9
        assert not is_published(notice)()
        assert seen.wait_for(lambda messages: len(messages) == 1, PATIENCE)
        with start(*BRIDGE, ready="connected to", MQTT_URL=mosquitto_server.url):
            wait_until(is_published(notice), "the mark", timeout=PATIENCE)
            assert seen.wait_for(lambda messages: len(messages) == 2, PATIENCE)
    assert seen.messages[0].payload == seen.messages[1].payload
    assert json.loads(seen.messages[0].payload)["event_id"] == str(notice.event_id)


def test_an_alert_that_the_acl_denies_waits_and_events_flow(start, user):
    with MosquittoServer(passwords={"bridge": "secret"}, acl=WITHOUT_ALERTS) as server:
        url = f"mqtt://bridge:secret@{server.host}:{server.port}"
        with start(*BRIDGE, ready="connected to", MQTT_URL=url) as bridge:
            notice = raise_alert(user)
            said = f"refused: stockqueue/alerts/{user.pk}/AAPL: Not auth"
            wait_until(lambda: said in output_of(bridge), "the refusal", timeout=PATIENCE)
            assert not is_published(notice)()


def test_a_search_for_due_alerts_takes_one_query(user, django_assert_num_queries):
    raise_alert(user)
    raise_alert(user, "MSFT")
    with django_assert_num_queries(1):
        assert len(list(price_alerts.due())) == 2


def test_the_topic_is_configurable(user, configure):
    configure(**{"queue.mqtt.topics.price_alert": "owners/{user_id}"})
    assert price_alerts.message_of(raise_alert(user)).topic == f"owners/{user.pk}"
