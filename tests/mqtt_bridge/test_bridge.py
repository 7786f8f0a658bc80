"""The shipped bridge between the database and a real mosquitto, in good times and while things are killed."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction

from market.models import Stock
from operations.local.child_processes import wait_until
from operations.local.mqtt_subscriber import Message
from tasks.models import Job, JobEvent
from tasks.state import lifecycle
from tests.conftest import BRIDGE, ROOT, output_of
from tests.support.asyncapi import check
from tests.support.invariants import arrived_event_ids, check_nothing_was_lost, event_ids, payloads
from tests.support.lasting_subscriber import LastingSubscriber
from tests.support.outbox import (
    PATIENCE,
    STATE,
    arrived,
    kill,
    lifecycle_of,
    request,
    unpublished,
    wait_until_all_is_published,
    work,
    worked,
)
from tests.support.servers import MosquittoServer, PostgresServer
from tests.support.stalling_proxy import StallingProxy

pytestmark = pytest.mark.django_db(transaction=True)

LARGE = 60_000


@pytest.fixture
def subscribe_for_good() -> Iterator[Callable[..., LastingSubscriber]]:
    """subscribe_for_good(server): a subscriber that the server remembers, until the test ends."""
    with ExitStack() as stack:
        yield lambda server, topics="stock/+/+": stack.enter_context(
            LastingSubscriber(server.host, server.port, topics)
        )


def test_every_event_arrives_in_order_and_is_marked(mosquitto_server, start, subscribe):
    with (
        start(*BRIDGE, ready="connected to", MQTT_URL=mosquitto_server.url),
        subscribe(mosquitto_server) as stock,
        subscribe(mosquitto_server, "jobs/status/+") as status,
    ):
        jobs = worked(6)
        for seen in (stock, status):
            assert seen.wait_for(arrived(jobs), PATIENCE)
            check_nothing_was_lost(seen.messages, jobs)
            assert len(seen.messages) == 24
        wait_until_all_is_published(jobs)
    assert {message.topic for message in stock.messages} == {f"stock/fetch/S{number}" for number in range(6)}
    assert all(message.topic == f"jobs/status/{json.loads(message.payload)['id']}" for message in status.messages)


def test_a_jobs_messages_come_on_their_topics_with_their_qos(mosquitto_server, start, subscribe_for_good):
    seen = subscribe_for_good(mosquitto_server, "#")
    with start(*BRIDGE, ready="connected to", MQTT_URL=mosquitto_server.url):
        high, low = request("AAPL", trigger=Job.Trigger.USER_REQUEST) + request("MSFT")
        work([high, low])
        assert seen.wait_for(lambda messages: len(lifecycle_of(messages)) == 20, PATIENCE), seen.messages
        wait_until_all_is_published([high, low])
    assert Counter(message.topic for message in lifecycle_of(seen.messages)) == {
        "stock/fetch/AAPL": 4,
        "stock/fetch/MSFT": 4,
        f"jobs/status/{high.pk}": 4,
        f"jobs/status/{low.pk}": 4,
        "jobs/queue/high/stock_fetch": 1,
        "jobs/queue/normal/stock_fetch": 1,
        f"jobs/completed/{high.pk}": 1,
        f"jobs/completed/{low.pk}": 1,
    }
    assert seen.qos.pop("jobs/queue/high/stock_fetch") == {2}
    # The heartbeats of another test's worker come with a QoS of 0.
    assert all(qos == {1} for topic, qos in seen.qos.items() if not topic.startswith("workers/heartbeat/"))
    for message in seen.messages:
        check(message.topic, message.payload)


def test_nothing_is_retained_but_the_bridges_state(mosquitto_server, start, subscribe):
    with start(*BRIDGE, ready="connected to", MQTT_URL=mosquitto_server.url):
        early = worked(1)
        wait_until_all_is_published(early)
        with subscribe(mosquitto_server, "#") as latecomer:
            late = request("LATE")
            assert latecomer.wait_for(arrived(late), PATIENCE)
    # What is retained arrives with the subscription, and so before the rest.
    assert arrived_event_ids(lifecycle_of(latecomer.messages)) == event_ids(late)
    retained = {message.topic for message in latecomer.messages if message.retained}
    assert retained - {"workers/register"} == {STATE}  # a worker of another test may have been there


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_hundred_urgent_jobs_that_are_queued_at_once_all_reach_the_queue_topic(
    protocol, mosquitto_server, start, subscribe
):
    jobs = request(*(f"S{number}" for number in range(100)), trigger=Job.Trigger.USER_REQUEST)
    lifecycle.mark_queued([job.pk for job in jobs])
    url = f"{mosquitto_server.url}?protocol={protocol}"
    with (
        subscribe(mosquitto_server, "jobs/queue/high/#") as seen,
        start(*BRIDGE, ready="connected to", MQTT_URL=url),
    ):
        wait_until_all_is_published(jobs)
        assert seen.wait_for(lambda messages: len(messages) >= 100, PATIENCE), len(seen.messages)
    assert {payload["id"] for payload in payloads(seen.messages)} == {str(job.pk) for job in jobs}


def test_each_user_who_asked_by_logging_in_is_told_once(mosquitto_server, start, subscribe):
    ann, ben, cid = (User.objects.create_user(name) for name in ("ann", "ben", "cid"))
    for user in (ann, ann, ben):
        (job,) = request("AAPL", trigger=Job.Trigger.USER_LOGIN, user=user)
    request("AAPL", trigger=Job.Trigger.USER_REQUEST, user=cid)
    with (
        subscribe(mosquitto_server, "stock/portfolio/priority/+") as seen,
        start(*BRIDGE, ready="connected to", MQTT_URL=mosquitto_server.url),
    ):
        wait_until_all_is_published([job])
        assert seen.wait_for(lambda messages: len(messages) >= 2, PATIENCE)
    topics = Counter(message.topic for message in seen.messages)
    assert topics == {f"stock/portfolio/priority/{user.pk}": 1 for user in (ann, ben)}


def test_an_event_is_marked_after_the_broker_has_acknowledged_it_and_not_before(mosquitto_server, start, subscribe):
    with (
        StallingProxy(mosquitto_server.host, mosquitto_server.port) as proxy,
        subscribe(mosquitto_server) as seen,
        start(*BRIDGE, ready="connected to", MQTT_URL=f"mqtt://127.0.0.1:{proxy.port}"),
    ):
        proxy.hold_back()
        jobs = worked(3)
        assert seen.wait_for(lambda messages: bool(messages), PATIENCE)
        wait_until(lambda: proxy.held > 0, "an acknowledgement that is on its way")
        assert unpublished(jobs) == event_ids(jobs)
        proxy.release()
        wait_until_all_is_published(jobs)
        assert seen.wait_for(arrived(jobs), PATIENCE)
        check_nothing_was_lost(seen.messages, jobs)


def test_a_bridge_killed_between_acknowledgement_and_mark_leads_to_the_same_messages_again(
    mosquitto_server, start, subscribe
):
    with StallingProxy(mosquitto_server.host, mosquitto_server.port) as proxy, subscribe(mosquitto_server) as seen:
        with start(*BRIDGE, ready="connected to", MQTT_URL=f"mqtt://127.0.0.1:{proxy.port}") as bridge:
            proxy.hold_back()
            (job,) = jobs = request("AAPL")
            assert seen.wait_for(arrived(jobs), PATIENCE)
            wait_until(lambda: proxy.held > 0, "an acknowledgement that is on its way")
            kill(bridge)
        assert unpublished(jobs) == event_ids(jobs)
        with start(*BRIDGE, ready="connected to", MQTT_URL=mosquitto_server.url):
            work(jobs)
            wait_until_all_is_published(jobs)
            assert seen.wait_for(arrived(jobs), PATIENCE)
        check_nothing_was_lost(seen.messages, jobs)
        first, again, *rest = seen.messages
        assert (again.topic, again.payload) == (first.topic, first.payload)
        assert [payload["seq"] for payload in payloads(rest)] == [2, 3, 4], job


def test_a_bridge_killed_in_the_middle_of_a_backlog_leaves_the_rest_to_the_next_one(
    mosquitto_server, start, subscribe
):
    jobs = worked(50)
    with subscribe(mosquitto_server) as seen:
        with start(*BRIDGE, ready="connected to", MQTT_URL=mosquitto_server.url) as bridge:
            assert seen.wait_for(lambda messages: bool(messages), PATIENCE)
            kill(bridge)
        assert unpublished(jobs)
        with start(*BRIDGE, ready="connected to", MQTT_URL=mosquitto_server.url):
            wait_until_all_is_published(jobs)
            assert seen.wait_for(arrived(jobs), PATIENCE)
        check_nothing_was_lost(seen.messages, jobs)


def test_a_mosquitto_killed_in_the_middle_of_a_backlog_gets_the_rest_when_it_is_back(
    new_mosquitto, start, subscribe_for_good
):
    jobs = worked(50)
    seen = subscribe_for_good(new_mosquitto)
    new_mosquitto.save()
    with start(*BRIDGE, ready="connected to", MQTT_URL=new_mosquitto.url) as bridge:
        assert seen.wait_for(lambda messages: bool(messages), PATIENCE)
        new_mosquitto.kill()
        assert unpublished(jobs)
        new_mosquitto.start()
        wait_until_all_is_published(jobs)
        assert seen.wait_for(arrived(jobs), PATIENCE)
        check_nothing_was_lost(seen.messages, jobs)
        assert bridge.poll() is None


def test_what_a_mosquitto_lost_with_its_death_although_it_acknowledged_it_is_sent_again(start):
    with MosquittoServer(saves=False) as server:
        seen = LastingSubscriber(server.host, server.port, "stock/+/+")
        with seen:
            server.save()
        with start(*BRIDGE, ready="connected to", MQTT_URL=server.url):
            jobs = worked(4)
            wait_until_all_is_published(jobs)
            server.kill()
            server.start()
            with seen:
                assert seen.wait_for(arrived(jobs), PATIENCE)
            check_nothing_was_lost(seen.messages, jobs)
            wait_until_all_is_published(jobs)


def test_a_bridge_that_starts_before_mosquitto_says_so_once_and_then_delivers(
    new_mosquitto, start, subscribe_for_good, capsys
):
    seen = subscribe_for_good(new_mosquitto)
    new_mosquitto.stop()
    with start(*BRIDGE, ready="waiting: ", MQTT_URL=new_mosquitto.url):
        jobs = worked(4)
        assert unpublished(jobs) == event_ids(jobs)
        new_mosquitto.start()
        assert seen.wait_for(arrived(jobs), PATIENCE)
        wait_until_all_is_published(jobs)
        check_nothing_was_lost(seen.messages, jobs)
    log = capsys.readouterr().out
    assert log.count("waiting: ") == 1
    assert f"waiting: {new_mosquitto.url}: [Errno 111] Connection refused" in log
    assert "Traceback" not in log


def test_an_event_that_commits_late_is_not_passed_over(mosquitto_server, start, subscribe):
    """PostgreSQL hands out ids before the commit; SQLite has one writer, whose ids and commits are in one order."""
    if connection.vendor == "sqlite":
        pytest.skip("SQLite lets one transaction write at a time")
    Stock.objects.create(symbol="SLOW")
    late: list[Job] = []
    written, commit = threading.Event(), threading.Event()

    def request_slowly() -> None:
        try:
            with transaction.atomic():
                late.extend(request("SLOW"))
                written.set()
                assert commit.wait(PATIENCE)
        finally:
            connection.close()

    thread = threading.Thread(target=request_slowly)
    thread.start()
    with (
        subscribe(mosquitto_server) as seen,
        start(*BRIDGE, ready="connected to", MQTT_URL=mosquitto_server.url),
    ):
        assert written.wait(PATIENCE)
        early = request("FAST")
        assert seen.wait_for(arrived(early), PATIENCE)
        wait_until_all_is_published(early)
        assert not Job.objects.filter(symbol="SLOW").exists()
        commit.set()
        thread.join()
        assert max(event_ids(late)) < min(event_ids(early))
        assert seen.wait_for(arrived(late), PATIENCE)
        check_nothing_was_lost(seen.messages, early + late)


def test_an_event_that_appears_below_published_ones_is_not_passed_over(mosquitto_server, start, subscribe):
    late, early = request("SLOW"), request("FAST")
    event = JobEvent.objects.get(job=late[0])
    JobEvent.objects.filter(pk=event.pk).delete()
    with (
        subscribe(mosquitto_server) as seen,
        start(*BRIDGE, ready="connected to", MQTT_URL=mosquitto_server.url),
    ):
        assert seen.wait_for(arrived(early), PATIENCE)
        wait_until_all_is_published(early)
        event.save(force_insert=True)
        assert max(event_ids(late)) < min(event_ids(early))
        assert seen.wait_for(arrived(late), PATIENCE)
        check_nothing_was_lost(seen.messages, early + late)


@pytest.mark.parametrize("symbol", ["A#B", "A\x07B"], ids=["wildcard", "control character"])
def test_an_event_that_no_topic_can_carry_is_set_aside_and_the_others_flow(symbol, mosquitto_server, start, subscribe):
    before, bad, after = request("FIRST", "BAD", "LAST")
    Job.objects.filter(pk=bad.pk).update(symbol=symbol)
    with (
        subscribe(mosquitto_server, "#") as everything,
        subscribe(mosquitto_server) as seen,
        start(*BRIDGE, ready="connected to", MQTT_URL=mosquitto_server.url),
    ):
        work([before, bad, after])
        wait_until_all_is_published([before, after])
        assert seen.wait_for(arrived([before, after]), PATIENCE)
        wait_until(lambda: bad.events.exclude(error="").count() == 4, "four events that are set aside")
        check_nothing_was_lost(seen.messages, [before, after])
        assert not arrived_event_ids(lifecycle_of(everything.messages)) & event_ids([bad])
    assert unpublished([bad]) == event_ids([bad])
    assert set(bad.events.values_list("error", flat=True)) == {f"stock_fetch: {symbol!r} cannot be a level of a topic"}


def test_an_event_whose_payload_is_not_whole_is_set_aside_and_the_others_flow(mosquitto_server, start):
    broken, whole = request("AAPL", "MSFT")
    JobEvent.objects.filter(job=broken).update(payload={"queue": "foreground"})
    with start(*BRIDGE, ready="connected to", MQTT_URL=mosquitto_server.url):
        work([whole])
        wait_until_all_is_published([whole])
        wait_until(lambda: broken.events.exclude(error="").exists(), "the broken event to be set aside")
    assert broken.events.get().error == "the event's payload lacks 'priority'"


def test_sigterm_ends_an_idle_bridge(mosquitto_server, start):
    with start(*BRIDGE, ready="connected to", MQTT_URL=mosquitto_server.url) as bridge:
        bridge.send_signal(signal.SIGTERM)
        assert bridge.wait(10) == 0


def test_sigterm_ends_a_bridge_that_waits_for_mosquitto(new_mosquitto, start):
    new_mosquitto.stop()
    with start(*BRIDGE, ready="waiting: ", MQTT_URL=new_mosquitto.url) as bridge:
        bridge.send_signal(signal.SIGTERM)
        assert bridge.wait(10) == 0


def test_sigterm_ends_a_bridge_whose_mosquitto_hangs_and_the_next_one_delivers(
    new_mosquitto, start, subscribe_for_good
):
    seen = subscribe_for_good(new_mosquitto)
    with (
        StallingProxy(new_mosquitto.host, new_mosquitto.port) as proxy,
        start(*BRIDGE, ready="connected to", MQTT_URL=f"mqtt://127.0.0.1:{proxy.port}") as bridge,
    ):
        idle = proxy.passed_on
        new_mosquitto.pause()
        with transaction.atomic():
            jobs = request(*(f"S{number}" for number in range(20)))
            Job.objects.update(parameters={"symbol": "x" * LARGE})
        wait_until(lambda: proxy.passed_on > idle + LARGE, "the bridge to publish")
        bridge.send_signal(signal.SIGTERM)
        assert bridge.wait(10) == 0
    assert unpublished(jobs) == event_ids(jobs)
    new_mosquitto.resume()
    with start(*BRIDGE, ready="connected to", MQTT_URL=new_mosquitto.url):
        wait_until_all_is_published(jobs)
        assert seen.wait_for(arrived(jobs), PATIENCE)
        check_nothing_was_lost(seen.messages, jobs)


@pytest.mark.parametrize(("protocol", "mosquittos_number"), [("5", 5), ("3.1.1", 2)])
def test_the_url_chooses_the_version_of_mqtt(protocol, mosquittos_number, new_mosquitto, start, subscribe):
    url = f"{new_mosquitto.url}?protocol={protocol}"
    with (
        subscribe(new_mosquitto) as seen,
        start(*BRIDGE, ready="connected to", MQTT_URL=url),
    ):
        jobs = worked(3)
        assert seen.wait_for(arrived(jobs), PATIENCE)
        wait_until_all_is_published(jobs)
        check_nothing_was_lost(seen.messages, jobs)
    (connected,) = [line for line in new_mosquitto.log.splitlines() if " as stockqueue-bridge " in line]
    assert f"(p{mosquittos_number}," in connected


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_wrong_password_is_said_in_one_line(protocol, start, capsys):
    with MosquittoServer(passwords={"bridge": "right"}) as server:
        at = f"{server.host}:{server.port}"
        with start(*BRIDGE, ready="connected to", MQTT_URL=f"mqtt://bridge:right@{at}?protocol={protocol}"):
            pass
        capsys.readouterr()
        refusals = server.log.count("not authorised")
        with start(*BRIDGE, ready="waiting: ", MQTT_URL=f"mqtt://bridge:guessed@{at}?protocol={protocol}") as bridge:
            wait_until(lambda: server.log.count("not authorised") >= refusals + 3, "three attempts")
            bridge.send_signal(signal.SIGTERM)
            assert bridge.wait(10) == 0
    log = capsys.readouterr().out
    (line,) = [line for line in log.splitlines() if "mqtt_bridge" in line and "manage.py" not in line]
    assert line.endswith(f"WARNING mqtt_bridge.relay: waiting: mqtt://{at}: Not authorized")
    assert "guessed" not in log


def says(messages: Sequence[Message], word: bytes) -> bool:
    """Whether that is the last of them."""
    return [message.payload for message in messages[-1:]] == [word]


def test_a_bridge_whose_database_goes_away_says_that_it_is_offline_and_comes_back(start, subscribe, mosquitto_server):
    with PostgresServer() as database:
        environment = {"DATABASE_URL": database.url, "MQTT_URL": mosquitto_server.url}
        command = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
        subprocess.run(command, cwd=ROOT, env=os.environ | environment, check=True)
        with (
            start(*BRIDGE, ready="connected to", **environment) as bridge,
            subscribe(mosquitto_server, STATE) as state,
        ):
            database.stop()
            assert state.wait_for(lambda messages: says(messages, b"offline"), PATIENCE)
            database.start()
            assert state.wait_for(lambda messages: says(messages, b"online"), PATIENCE)
            assert bridge.poll() is None
            assert "Traceback" not in output_of(bridge)
