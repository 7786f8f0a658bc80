"""Relays the outbox to the MQTT broker: at least once, and in order within a job."""

import logging
import os
import socket
import threading
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection, transaction
from django.db.models import Prefetch
from django.utils import timezone
from paho.mqtt.reasoncodes import ReasonCode

from mqtt_bridge.client import MqttConnection, MqttError
from mqtt_bridge.payloads import for_topic, lifecycle_payload
from mqtt_bridge.topics import InvalidTopic, lifecycle_targets
from tasks.models import Job, JobEvent, JobRequest

logger = logging.getLogger(__name__)

WINDOW = 40
"""Events that are under way at once; each is two to five messages."""
POLL = 0.1
"""Seconds between two looks into an empty outbox."""
ANSWER_TIMEOUT = 10.0
"""Seconds without a single answer after which a connection is given up."""
STOP_TIMEOUT = 2.0
"""Seconds that the window under way may still take once the relay is to stop."""
LONGEST_PAUSE = 10.0
"""Seconds between two attempts while the broker or the database is away."""
AGAIN = 5.0
"""Seconds for which a broker that dies may lose what it has acknowledged; mosquitto saves after it has answered."""
AT_MOST = 3
"""How often an event is sent whose connection broke afterwards, so that one that breaks all the time stops nobody."""


@dataclass
class _Sent:
    event: JobEvent
    mids: dict[int, str]


class Relay:
    """Publishes events and marks them once the broker has acknowledged all messages of theirs.

    The outbox is the only queue: after a lost connection or a restart, what is not marked is published again, with
    the same `event_id`. After a lost connection so is what was acknowledged just before, for the broker may have died.
    """

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._pause = 0.0
        self._complaint = ""
        self._acknowledged = _Acknowledged()

    def run(self) -> None:
        """Relay until `stop` is set; the window under way is finished first."""
        while not self._stop.is_set():
            try:
                self._relay_while_connected()
            except (MqttError, DatabaseError, InterfaceError) as error:
                self._wait_after(error)

    def _relay_while_connected(self) -> None:
        mqtt = settings.JOB_PROCESSOR.queue.mqtt
        client_id = f"{mqtt.client_id_prefix}-bridge-{socket.gethostname()}-{os.getpid()}"
        broker = MqttConnection(settings.MQTT, client_id, keepalive=mqtt.keepalive)
        try:
            broker.open()
            logger.info("connected to %s", settings.MQTT)
            self._acknowledged.send_again()
            while not self._stop.is_set():
                if not self.relay_window(broker):
                    self._stop.wait(POLL)
                if not broker.is_open:
                    raise MqttError(f"{settings.MQTT}: the connection was lost")
                self._pause, self._complaint = 0.0, ""
        finally:
            broker.close()

    def relay_window(self, broker: MqttConnection) -> int:
        """Publish the oldest unpublished events and mark those that arrived; how many there were."""
        events = unpublished(WINDOW)
        sent: list[_Sent] = []
        try:
            for event in events:
                sent.append(_publish(broker, event))
        except MqttError:
            pass  # what was sent before may still have been acknowledged; the caller finds the connection closed
        if sent:
            answers = self._answers(broker, [mid for one in sent for mid in one.mids])
            self._acknowledged.add(_settle(sent, answers))
            if broker.is_open and any(mid not in answers for one in sent for mid in one.mids):
                raise MqttError(f"{settings.MQTT}: it does not answer")
        return len(events)

    def _answers(self, broker: MqttConnection, mids: Collection[int]) -> dict[int, ReasonCode]:
        """The broker's answers to `mids`: all of them, unless the connection breaks or time is up.

        A broker with a long queue to save may take longer over a window than it may be silent.
        """
        answers: dict[int, ReasonCode] = {}
        missing = set(mids)
        deadline = time.monotonic() + ANSWER_TIMEOUT
        stopping = False
        while missing:
            news = broker.wait(missing, timeout=0.2)
            answers |= news
            missing -= news.keys()
            if self._stop.is_set() and not stopping:
                stopping = True
                deadline = min(deadline, time.monotonic() + STOP_TIMEOUT)
            elif news and not stopping:
                deadline = time.monotonic() + ANSWER_TIMEOUT
            if not broker.is_open or time.monotonic() > deadline:
                break
        return answers

    def _wait_after(self, error: Exception) -> None:
        complaint = str(error).splitlines()[0] if str(error) else type(error).__name__
        if complaint != self._complaint:  # once for an outage, not once for an attempt
            logger.warning("waiting: %s", complaint)
            self._complaint = complaint
        if not isinstance(error, MqttError) and not connection.in_atomic_block:
            connection.close()
        self._pause = min(max(0.25, self._pause * 2), LONGEST_PAUSE)
        self._stop.wait(self._pause)


class _Acknowledged:
    """What the broker acknowledged a moment ago on this connection, or on those before it."""

    def __init__(self) -> None:
        self._latest: dict[int, tuple[float, int]] = {}
        """By event, when that was, and how often it was published."""

    def add(self, event_ids: Iterable[int]) -> None:
        now = time.monotonic()
        for event_id in event_ids:
            _, times = self._latest.pop(event_id, (0.0, 0))
            self._latest[event_id] = now, times + 1
        for event_id, (at, _) in list(self._latest.items()):  # the oldest come first
            if at > now - AGAIN:
                break
            del self._latest[event_id]

    def send_again(self) -> None:
        """Put it back into the outbox, in the order in which it was there."""
        event_ids = [event_id for event_id, (_, times) in self._latest.items() if times < AT_MOST]
        JobEvent.objects.filter(pk__in=event_ids).update(published_at=None)


def unpublished(limit: int) -> list[JobEvent]:
    """The oldest events that wait, each with its job and the job's requesters by login.

    Never "everything after the last one": ids commit out of order, and a late one would be passed over.
    """
    logins = JobRequest.objects.filter(trigger=Job.Trigger.USER_LOGIN).exclude(user=None)
    waiting = JobEvent.objects.filter(published_at__isnull=True, error="").order_by("id")
    return list(
        waiting.select_related("job").prefetch_related(Prefetch("job__requests", logins, "login_requests"))[:limit]
    )


def _publish(broker: MqttConnection, event: JobEvent) -> _Sent:
    """Hand all messages of an event to the broker. One that cannot be sent at all is set aside."""
    users = list(dict.fromkeys(request.user_id for request in event.job.login_requests))  # type: ignore[attr-defined]
    try:
        targets = lifecycle_targets(event, users)
        payload = lifecycle_payload(event)
    except InvalidTopic as error:
        event.error = str(error)
        return _Sent(event, {})
    except KeyError as error:
        event.error = f"the event's payload lacks {error}"
        return _Sent(event, {})
    return _Sent(
        event,
        {
            broker.publish(target.topic, for_topic(payload, target.template), target.qos): target.topic
            for target in targets
        },
    )


def _settle(sent: list[_Sent], answers: dict[int, ReasonCode]) -> list[int]:
    """Mark what the broker has, set aside what it refuses, leave the rest for later; the ids of what it has."""
    arrived: list[JobEvent] = []
    refused: list[JobEvent] = []
    for one in sent:
        if one.event.error:
            refused.append(one.event)
        elif one.mids.keys() <= answers.keys():
            failures = [f"{topic}: {answers[mid]}" for mid, topic in one.mids.items() if answers[mid].is_failure]
            one.event.error = "; ".join(failures)
            (refused if failures else arrived).append(one.event)
    with transaction.atomic():
        JobEvent.objects.filter(pk__in=[event.pk for event in arrived]).update(published_at=timezone.now())
        JobEvent.objects.bulk_update(refused, ["error"])
    for event in refused:
        logger.error("event %s is set aside: %s", event.pk, event.error)
    return [event.pk for event in arrived]
