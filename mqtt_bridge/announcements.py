"""Announcements of the bridge besides the events of jobs: announcements of registered sources, and statistics."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import NamedTuple

from mqtt_bridge import statistics
from mqtt_bridge.client import Received
from mqtt_bridge.topics import Message
from mqtt_bridge.window import Parcel, Window
from mqtt_bridge.worker_announcements import WorkerNotices, mark_told
from tasks.state.crash_points import crash_point

logger = logging.getLogger(__name__)

LOOK = 2.0
"""Seconds between two searches for due announcements."""
STATISTICS = 60.0
"""Seconds between two publications of statistics without a request."""


class Announcement(NamedTuple):
    """A message that is repeated until its acknowledgement, followed by a call of `mark`.

    Only one announcement with the same key is in flight.
    """

    key: str
    message: Message
    mark: Callable[[], None]


Source = Callable[[], Iterable[Announcement]]
"""Finds the due announcements, in order. It is called every LOOK seconds, and again until they are marked."""

_sources: dict[str, Source] = {}


def register_source(name: str, source: Source) -> None:
    """Publish the announcements of `source`. The name begins the keys of its announcements."""
    _sources[name] = source


class Notices:
    """Sends announcements through a window, and records their acknowledgements. Survives lost connections."""

    def __init__(self) -> None:
        self._workers = WorkerNotices()
        self._looked = self._counted = float("-inf")
        self._under_way: dict[str, Announcement] = {}
        self._refused: set[str] = set()

    def connected(self) -> None:
        """Forget the state of the last connection."""
        self._under_way.clear()
        self._refused.clear()

    def tell(self, window: Window, received: Iterable[Received]) -> None:
        """Send due announcements, and answer requests for statistics."""
        now = time.monotonic()
        if now - self._looked >= LOOK:
            self._looked = now
            for notice in self._due():
                if notice.key not in self._under_way and notice.message.topic not in self._refused:
                    self._under_way[notice.key] = notice
                    window.send(notice.key, [notice.message])
        asked = [request for one in received if (request := statistics.parse_request(one.payload))]
        if now - self._counted >= STATISTICS:
            self._counted = now
            asked.append(statistics.StatisticsRequest(None))
        for answer in statistics.answer(asked):
            window.send("statistics", [answer])

    def ended(self, parcels: Iterable[Parcel]) -> None:
        """Mark acknowledged announcements. A refusal is logged once, and not repeated on this connection."""
        for parcel in parcels:
            notice = self._under_way.pop(str(parcel.key), None)
            for topic, reason in parcel.refusals:
                if topic not in self._refused:
                    self._refused.add(topic)
                    logger.error("refused: %s: %s", topic, reason)
            if notice is not None and not parcel.refusals:
                crash_point("announced")
                notice.mark()

    def _due(self) -> Iterator[Announcement]:
        for notice in self._workers.due():
            key = f"worker {notice.worker.pk} {notice.becomes}"
            yield Announcement(key, notice.message, partial(mark_told, [notice]))
        for name, source in _sources.items():
            for found in source():
                yield found._replace(key=f"{name} {found.key}")
