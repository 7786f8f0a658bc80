"""Alerts on `system/alerts/{name}`. They come from `operations`, which hands over where to find them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from mqtt_bridge.payloads import as_json, unix
from mqtt_bridge.topics import Message, message

SCHEMA = "stockqueue.alert/1"


@dataclass(frozen=True)
class AlertNews:
    """An alert that was raised or cleared `at` some moment; it began at `since`. `key` is the sender's own."""

    key: tuple[int, str]
    name: str
    state: str
    text: str
    value: float
    worst: float
    threshold: float
    since: datetime
    at: datetime

    def message(self) -> Message:
        """On the alert's topic."""
        payload = {
            "schema": SCHEMA,
            "name": self.name,
            "state": self.state,
            "text": self.text,
            "value": self.value,
            "worst": self.worst,
            "threshold": self.threshold,
            "since": unix(self.since),
            "timestamp": unix(self.at),
            "at": self.at.isoformat(),
        }
        return message("system_alert", as_json(payload), name=self.name)


def _nothing() -> list[AlertNews]:
    return []


def _forget(_news: AlertNews) -> None:
    pass


due: Callable[[], list[AlertNews]] = _nothing
mark_told: Callable[[AlertNews], None] = _forget


def configure(due_alerts: Callable[[], list[AlertNews]], mark: Callable[[AlertNews], None]) -> None:
    """Hand over what finds news, and what notes that the broker has them."""
    global due, mark_told
    due, mark_told = due_alerts, mark
