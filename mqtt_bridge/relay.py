"""Relays the outbox to the MQTT broker: at least once, and in order within a job."""

import logging
import select
import socket
import time
from collections.abc import Iterable
from contextlib import suppress

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection

from mqtt_bridge import outbox
from mqtt_bridge.announcements import Notices
from mqtt_bridge.client import MqttConnection, MqttError
from mqtt_bridge.event_messages import Unsendable, messages_of
from mqtt_bridge.leadership import Lease, LeaseLost
from mqtt_bridge.redelivery import Acknowledged, Suspects
from mqtt_bridge.topics import Message
from mqtt_bridge.window import BrokerSilent, Parcel, Window
from tasks.models import JobEvent
from tasks.wakeup import LONGEST_INTERVAL, Wakeup, wakeup

logger = logging.getLogger(__name__)

EVENTS_PER_QUERY = 1_000
"""Events in a query."""
MARK = 250
"""Events marked as published together."""
STAND_BY = 1.0
"""Seconds between two attempts to take over from another bridge."""
LONGEST_PAUSE = 10.0
"""The longest pause in seconds between two attempts during an outage of the broker or the database."""


class Stop:
    """The request to end the bridge, set by a signal handler. `select` can wait for it."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._is_set = False

    def set(self) -> None:
        if not self._is_set:
            self._is_set = True
            self._writer.send(b".")

    def is_set(self) -> bool:
        return self._is_set

    def wait(self, timeout: float) -> None:
        """Wait until the request is set, or for `timeout` seconds."""
        select.select([self], [], [], timeout)

    def fileno(self) -> int:
        return self._reader.fileno()


class Relay:
    """Publishes events, and marks an event after the broker has acknowledged all its messages.

    The outbox is the only queue: after a lost connection or a restart, unmarked events are published again, with the
    same `event_id`. After a lost connection, recently acknowledged events are published again too, because the broker
    may have crashed.
    """

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._lease = Lease()
        self._pause = 0.0
        self._complaint = ""
        self._notices = Notices()
        self._acknowledged = Acknowledged()
        self._suspects = Suspects()

    def run(self) -> None:
        """Relay until `stop` is set, whenever no other bridge does. The messages in flight are finished first."""
        while not self._stop.is_set():
            try:
                self._acknowledged.send_again()
                if self._lease.acquire():
                    self._lead()
                else:
                    self._complain("standing by: another bridge publishes")
                    self._stop.wait(STAND_BY)
            except LeaseLost:
                self._complain("another bridge took over")
            except (MqttError, DatabaseError, InterfaceError) as error:
                self._wait_after(error)

    def _lead(self) -> None:
        """Connect, and publish until the connection breaks or the bridge stops."""
        mqtt = settings.JOB_PROCESSOR.queue.mqtt
        # The client id is the same for all bridges: the broker ends a predecessor's connection, with its will, before
        # ours begins.
        broker = MqttConnection(settings.MQTT, f"{mqtt.client_id_prefix}-bridge", keepalive=mqtt.keepalive)
        broker.set_will(mqtt.topics.bridge_state, b"offline")
        try:
            broker.open()
            self._publish_all(broker, Window(broker, self._stop.is_set, self._lease.keep))
            broker.close()
        finally:
            broker.hang_up()  # without a goodbye, the broker publishes the will
            self._release()

    def _publish_all(self, broker: MqttConnection, window: Window) -> None:
        topics = settings.JOB_PROCESSOR.queue.mqtt.topics
        self._notices.connected()
        broker.subscribe(topics.system_stats_request)
        window.send("online", [Message(topics.bridge_state, b"online", 1, retain=True)])
        window.drain()
        self._settle(window)
        logger.info("connected to %s", settings.MQTT)
        try:
            self._publish_what_comes(broker, window)
            window.send("offline", [Message(topics.bridge_state, b"offline", 1, retain=True)])
            window.drain()
        except MqttError as error:
            self._acknowledged.lost_connection()
            if not isinstance(error, BrokerSilent):
                outbox.set_aside(self._suspects.lost_connection(window.under_way()))
            raise
        finally:
            self._settle(window)

    def _publish_what_comes(self, broker: MqttConnection, window: Window) -> None:
        news = wakeup()
        while not self._stop.is_set():
            self._lease.keep()
            self._notices.tell(window, broker.take_received())
            news.arm()
            events = outbox.waiting(EVENTS_PER_QUERY)
            if events:
                self._publish(broker, window, events)
            else:
                self._idle(broker, window, news)
                self._settle(window)
            self._pause, self._complaint = 0.0, ""

    def _publish(self, broker: MqttConnection, window: Window, events: Iterable[JobEvent]) -> None:
        errors: dict[int, str] = {}
        for event in events:
            if self._stop.is_set():
                break
            try:
                messages = messages_of(event, broker.largest)
            except Unsendable as error:
                errors[event.pk] = str(error)
                continue
            is_suspect = event.pk in self._suspects
            if is_suspect:
                window.drain()
            window.send(event.pk, messages)
            if is_suspect:
                window.drain()
                self._suspects.acquit(event.pk)
            if window.ended >= MARK:
                self._settle(window)
        window.drain()
        self._settle(window)
        self._set_aside(errors)

    def _idle(self, broker: MqttConnection, window: Window, news: Wakeup) -> None:
        """Wait for possible work, for LONGEST_INTERVAL seconds at most."""
        until = time.monotonic() + LONGEST_INTERVAL
        while not (self._stop.is_set() or broker.has_received or news.came()):
            left = until - time.monotonic()
            if left <= 0:
                break
            window.exchange(min(left, news.interval), [self._stop, *news.sources])

    def _settle(self, window: Window) -> None:
        """Mark acknowledged events, and set refused events aside as dead letters."""
        arrived: list[int] = []
        refused: dict[int, str] = {}
        notices: list[Parcel] = []
        for parcel in window.take_ended():
            if isinstance(parcel.key, str):
                notices.append(parcel)
            elif parcel.refusals:
                refused[parcel.key] = "; ".join(f"{topic}: {reason}" for topic, reason in parcel.refusals)
            else:
                arrived.append(parcel.key)
        self._notices.ended(notices)
        outbox.mark_published(arrived)
        self._acknowledged.add(arrived)
        self._set_aside(refused)

    def _set_aside(self, errors: dict[int, str]) -> None:
        outbox.set_aside(errors)
        for event_id, error in list(errors.items())[:1]:
            more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
            logger.error("event %s%s is a dead letter: %s", event_id, more, error)

    def _release(self) -> None:
        with suppress(DatabaseError, InterfaceError):  # the lease expires
            self._lease.release()

    def _wait_after(self, error: Exception) -> None:
        text = str(error)
        self._complain(f"waiting: {text.splitlines()[0] if text else type(error).__name__}")
        if not isinstance(error, MqttError) and not connection.in_atomic_block:
            connection.close()
        self._pause = min(max(0.25, self._pause * 2), LONGEST_PAUSE)
        self._stop.wait(self._pause)

    def _complain(self, complaint: str) -> None:
        if complaint != self._complaint:  # once per outage, not once per attempt
            logger.warning("%s", complaint)
            self._complaint = complaint
