"""Decides which events are published again after a lost connection."""

import time
from collections.abc import Iterable, Sequence
from itertools import takewhile

from mqtt_bridge import outbox
from mqtt_bridge.window import Key
from tasks.models import JobEvent

RESENT_SECONDS = 5.0
"""Seconds of acknowledged events to publish again, because a crashed broker may not have saved them.

mosquitto acknowledges before it saves. The settings shipped with stockqueue make it save more often than this."""
MOST_PUBLICATIONS = 3
"""The most publications of an event if the connection breaks after each, so that later events are not blocked."""


class Acknowledged:
    """Events with a recent acknowledgement, from this connection or an earlier connection."""

    def __init__(self) -> None:
        self._latest: dict[int, tuple[float, int]] = {}
        """By event: the time of the acknowledgement, and the number of publications."""
        self._was_lost = False

    def add(self, event_ids: Iterable[int]) -> None:
        now = time.monotonic()
        for event_id in event_ids:
            _, times = self._latest.pop(event_id, (0.0, 0))
            self._latest[event_id] = now, times + 1
        oldest_first = self._latest.items()
        for event_id, _ in list(takewhile(lambda item: item[1][0] <= now - RESENT_SECONDS, oldest_first)):
            del self._latest[event_id]

    def lost_connection(self) -> None:
        self._was_lost = True

    def send_again(self) -> None:
        """After a lost connection: return the events to the outbox, in their original order."""
        if self._was_lost:
            event_ids = [event_id for event_id, (_, times) in self._latest.items() if times < MOST_PUBLICATIONS]
            outbox.send_again(JobEvent.objects.filter(pk__in=event_ids, error=""))
            self._was_lost = False


class Suspects:
    """Events in flight when the broker closed the connection: each may be the cause.

    Each suspect is published alone until its acknowledgement. An event that breaks the connection repeatedly, with no
    other event in flight, becomes a dead letter. Otherwise it would block all later events.
    """

    PATIENCE = 3

    def __init__(self) -> None:
        self._cuts: dict[int, int] = {}

    def __contains__(self, event_id: int) -> bool:
        return event_id in self._cuts

    def acquit(self, event_id: int) -> None:
        del self._cuts[event_id]

    def lost_connection(self, under_way: Sequence[Key]) -> dict[int, str]:
        """Record the events in flight. Return the event that is proved to be the cause, if any, with the reason."""
        alone = under_way[0] if len(under_way) == 1 else None
        for key in under_way:
            if isinstance(key, int):
                self._cuts[key] = self._cuts[key] + (key == alone) if key in self._cuts else 0
        if isinstance(alone, int) and self._cuts[alone] >= self.PATIENCE:
            del self._cuts[alone]
            return {alone: f"the broker closed the connection on each of {self.PATIENCE + 1} attempts to send it"}
        return {}
