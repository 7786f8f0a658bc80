"""What the bridge tells besides the events of jobs: of workers, and figures for those who ask."""

import logging
import time
from collections.abc import Iterable

from mqtt_bridge import statistics
from mqtt_bridge.client import Received
from mqtt_bridge.window import Parcel, Window
from mqtt_bridge.workers import Notice, WorkerNotices, mark_told

logger = logging.getLogger(__name__)

LOOK = 1.0
"""Seconds between two looks at the workers."""
STATISTICS = 60.0
"""Seconds between two statistics that nobody asked for."""


class Notices:
    """Sends notices through a window, and notes which the broker has. Outlives connections."""

    def __init__(self) -> None:
        self._workers = WorkerNotices()
        self._looked = self._counted = float("-inf")
        self._under_way: dict[str, Notice] = {}
        self._number = 0
        self._refused: set[str] = set()

    def connected(self) -> None:
        """Forget what the last connection was about."""
        self._under_way.clear()
        self._refused.clear()

    def tell(self, window: Window, received: Iterable[Received]) -> None:
        """Send what is due, and answer who asked for statistics."""
        now = time.monotonic()
        if now - self._looked >= LOOK:
            self._looked = now
            for notice in self._workers.due():
                if notice.becomes is None or notice.message.topic not in self._refused:
                    self._send(window, notice)
        asked = [request for one in received if (request := statistics.parse_request(one.payload))]
        if now - self._counted >= STATISTICS:
            self._counted = now
            asked.append(statistics.StatisticsRequest(None))
        for answer in statistics.answer(asked):
            window.send("statistics", [answer])

    def _send(self, window: Window, notice: Notice) -> None:
        self._number += 1
        key = f"notice {self._number}"
        self._under_way[key] = notice
        window.send(key, [notice.message])

    def ended(self, parcels: Iterable[Parcel]) -> None:
        """Note what the broker has. What it refuses is said once, and not sent again on this connection."""
        told: list[Notice] = []
        for parcel in parcels:
            notice = self._under_way.pop(str(parcel.key), None)
            for topic, reason in parcel.refusals:
                if topic not in self._refused:
                    self._refused.add(topic)
                    logger.error("refused: %s: %s", topic, reason)
            if notice is not None and not parcel.refusals:
                told.append(notice)
        mark_told(told)
