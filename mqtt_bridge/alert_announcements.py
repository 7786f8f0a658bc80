"""Alerts on `system/alerts/{name}`. `operations` registers their source."""

from dataclasses import dataclass
from datetime import datetime

from mqtt_bridge.payloads import as_json, unix
from mqtt_bridge.topics import Message, message

SCHEMA = "stockqueue.alert/1"


@dataclass(frozen=True)
class AlertNews:
    """The start or end of an alert at the time `at`; the alert began at `since`."""

    name: str
    state: str
    text: str
    value: float
    worst: float
    threshold: float
    since: datetime
    at: datetime

    def message(self) -> Message:
        """The message for the alert's topic."""
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
