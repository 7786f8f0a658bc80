"""Limits the messages in flight to the broker's window, and collects the broker's answers by parcel."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from paho.mqtt.reasoncodes import ReasonCode

from mqtt_bridge.client import MqttConnection, MqttError
from mqtt_bridge.topics import Message
from tasks.wakeup import HasFileno

ANSWER_TIMEOUT = 10.0
"""Seconds without any answer after which a connection is given up."""
STOP_TIMEOUT = 2.0
"""Seconds for the messages in flight after the bridge was asked to stop."""
Key = int | str
"""An event's id, or a notice's key."""
_QUOTA_EXCEEDED = 0x97
"""A temporary refusal."""


@dataclass
class Parcel:
    """Messages with a common end, such as the messages of an event. `refusals`: refused topics, and the reasons."""

    key: Key
    unanswered: int = 0
    refusals: list[tuple[str, str]] = field(default_factory=list)


class BrokerSilent(MqttError):
    """The broker does not answer, although the connection is open."""


class Window:
    """Publishes parcels in order over a connection, with as many messages in flight as the broker accepts."""

    def __init__(self, broker: MqttConnection, stopping: Callable[[], bool], meanwhile: Callable[[], None]) -> None:
        """`meanwhile` is called during each wait; its exceptions end the wait."""
        self._broker = broker
        self._stopping = stopping
        self._meanwhile = meanwhile
        self._under_way: dict[int, tuple[Parcel, str]] = {}
        """By message: its parcel and its topic."""
        self._ended: list[Parcel] = []
        self._newest_answer = time.monotonic()
        self._stop_by: float | None = None

    def send(self, key: Key, messages: Sequence[Message]) -> None:
        """Publish messages as a parcel, waiting for room in the window. Raise MqttError."""
        parcel = Parcel(key, len(messages))
        for message in messages:
            while len(self._under_way) >= self._broker.window and not self._is_over():
                self.exchange(0.2)
            if not self._under_way:
                self._newest_answer = time.monotonic()
            mid = self._broker.publish(*message)
            self._under_way[mid] = parcel, message.topic

    def drain(self) -> None:
        """Wait until no message is in flight; for STOP_TIMEOUT at most after the bridge was asked to stop."""
        while self._under_way and not self._is_over():
            self.exchange(0.2)

    def exchange(self, timeout: float, others: Sequence[HasFileno] = ()) -> None:
        """Process answers for up to `timeout` seconds, or until anything arrives. Raise MqttError."""
        self._meanwhile()
        answers = self._broker.exchange(timeout, others)
        for mid, reason in answers.items():
            self._note(mid, reason)
        if answers:
            self._newest_answer = time.monotonic()
        elif self._under_way and time.monotonic() - self._newest_answer > ANSWER_TIMEOUT:
            raise BrokerSilent(f"{self._broker}: the broker does not answer")

    def take_ended(self) -> list[Parcel]:
        """The parcels completely answered since the last call, in the order of their last answer."""
        ended, self._ended = self._ended, []
        return ended

    @property
    def ended(self) -> int:
        """The number of parcels that `take_ended` would return."""
        return len(self._ended)

    def under_way(self) -> list[Key]:
        """The keys of parcels without all answers, the oldest first."""
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
        """Whether the bridge was asked to stop, and the time for the messages in flight is over."""
        if not self._stopping():
            return False
        self._stop_by = self._stop_by or time.monotonic() + STOP_TIMEOUT
        return time.monotonic() > self._stop_by
