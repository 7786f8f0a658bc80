"""What a lost connection means for the events that were sent over it."""

import time
from collections.abc import Iterable, Sequence
from itertools import takewhile

from mqtt_bridge import outbox
from mqtt_bridge.window import Key
from tasks.models import JobEvent

AGAIN = 5.0
"""Seconds of acknowledged events that are sent again, because a broker that dies may not have saved them.

mosquitto acknowledges first and saves later. The settings that stockqueue ships make it save more often than this.
"""
AT_MOST = 3
"""How often an event is sent whose connection broke afterwards, so that one that breaks all the time stops nobody."""


class Acknowledged:
    """What the broker acknowledged a moment ago on this connection, or on those before it."""

    def __init__(self) -> None:
        self._latest: dict[int, tuple[float, int]] = {}
        """By event, when that was, and how often it was published."""
        self._was_lost = False

    def add(self, event_ids: Iterable[int]) -> None:
        now = time.monotonic()
        for event_id in event_ids:
            _, times = self._latest.pop(event_id, (0.0, 0))
            self._latest[event_id] = now, times + 1
        oldest_first = self._latest.items()
        for event_id, _ in list(takewhile(lambda item: item[1][0] <= now - AGAIN, oldest_first)):
            del self._latest[event_id]

    def lost_connection(self) -> None:
        self._was_lost = True

    def send_again(self) -> None:
        """After a lost connection: put it back into the outbox, in the order in which it was there."""
        if self._was_lost:
            event_ids = [event_id for event_id, (_, times) in self._latest.items() if times < AT_MOST]
            outbox.send_again(JobEvent.objects.filter(pk__in=event_ids, error=""))
            self._was_lost = False


class Suspects:
    """Events that were under way when the broker cut the connection: one of them may be why.

    They are sent alone until they have arrived. One that the connection breaks on again and again, with nothing else
    under way, is set aside, so that it does not keep the others back for good.
    """

    PATIENCE = 3

    def __init__(self) -> None:
        self._cuts: dict[int, int] = {}

    def __contains__(self, event_id: int) -> bool:
        return event_id in self._cuts

    def acquit(self, event_id: int) -> None:
        del self._cuts[event_id]

    def lost_connection(self, under_way: Sequence[Key]) -> dict[int, str]:
        """Note what was under way; the one that is convicted, with the reason."""
        alone = under_way[0] if len(under_way) == 1 else None
        for key in under_way:
            if isinstance(key, int):
                self._cuts[key] = self._cuts[key] + (key == alone) if key in self._cuts else 0
        if isinstance(alone, int) and self._cuts[alone] >= self.PATIENCE:
            del self._cuts[alone]
            return {alone: f"the broker cut the connection each of {self.PATIENCE + 1} times that it was sent"}
        return {}
