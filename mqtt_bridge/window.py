"""Messages under way: no more at once than the broker takes, and what it answers to those that belong together."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from paho.mqtt.reasoncodes import ReasonCode

from mqtt_bridge.client import HasFileno, MqttConnection, MqttError
from mqtt_bridge.topics import Message

ANSWER_TIMEOUT = 10.0
"""Seconds without a single answer after which a connection is given up."""
STOP_TIMEOUT = 2.0
"""Seconds that what is under way may still take once the bridge is to stop."""
Key = int | str
"""An event's id, or a notice's name."""
_QUOTA_EXCEEDED = 0x97
"""A refusal that passes."""


@dataclass
class Parcel:
    """Messages that belong together: an event's, say. `refusals`: topics that the broker refused, and why."""

    key: Key
    unanswered: int = 0
    refusals: list[tuple[str, str]] = field(default_factory=list)


class BrokerSilent(MqttError):
    """The connection is there, and no answer comes."""


class Window:
    """Publishes parcels in order, over one connection, with as many messages under way as the broker takes."""

    def __init__(self, broker: MqttConnection, stopping: Callable[[], bool], meanwhile: Callable[[], None]) -> None:
        """`meanwhile` is called whenever it waits; what that raises ends the wait."""
        self._broker = broker
        self._stopping = stopping
        self._meanwhile = meanwhile
        self._under_way: dict[int, tuple[Parcel, str]] = {}
        """By message: what it belongs to, and its topic."""
        self._ended: list[Parcel] = []
        self._newest_answer = time.monotonic()
        self._stop_by: float | None = None

    def send(self, key: Key, messages: Sequence[Message]) -> None:
        """Publish these; waits for room. MqttError."""
        parcel = Parcel(key, len(messages))
        for message in messages:
            while len(self._under_way) >= self._broker.window and not self._is_over():
                self.exchange(0.2)
            if not self._under_way:
                self._newest_answer = time.monotonic()
            mid = self._broker.publish(*message)
            self._under_way[mid] = parcel, message.topic

    def drain(self) -> None:
        """Wait until nothing is under way; when the bridge is to stop, for STOP_TIMEOUT."""
        while self._under_way and not self._is_over():
            self.exchange(0.2)

    def exchange(self, timeout: float, others: Sequence[HasFileno] = ()) -> None:
        """Let answers come in, for up to `timeout` seconds or until something comes. MqttError."""
        self._meanwhile()
        answers = self._broker.exchange(timeout, others)
        for mid, reason in answers.items():
            self._note(mid, reason)
        if answers:
            self._newest_answer = time.monotonic()
        elif self._under_way and time.monotonic() - self._newest_answer > ANSWER_TIMEOUT:
            raise BrokerSilent(f"{self._broker}: it does not answer")

    def take_ended(self) -> list[Parcel]:
        """Those that have been answered in full since the last call, in the order of their last answer."""
        ended, self._ended = self._ended, []
        return ended

    @property
    def ended(self) -> int:
        """How many `take_ended` would give."""
        return len(self._ended)

    def under_way(self) -> list[Key]:
        """What has not been answered in full, the oldest first."""
        return list(dict.fromkeys(parcel.key for parcel, _ in self._under_way.values()))

    def _note(self, mid: int, reason: ReasonCode) -> None:
        parcel, topic = self._under_way.pop(mid)
        if reason.value == _QUOTA_EXCEEDED:
            raise MqttError(f"{self._broker}: {topic}: {reason}")
        parcel.unanswered -= 1
        if reason.is_failure:
            parcel.refusals.append((topic, str(reason)))
        if not parcel.unanswered:
            self._ended.append(parcel)

    def _is_over(self) -> bool:
        """Whether the bridge is to stop, and what was under way has had its time."""
        if not self._stopping():
            return False
        self._stop_by = self._stop_by or time.monotonic() + STOP_TIMEOUT
        return time.monotonic() > self._stop_by
