"""MQTT topic filters, as in subscriptions: `stock/+/AAPL`, `jobs/#`."""

from collections.abc import Iterable

from paho.mqtt.client import topic_matches_sub

from mqtt_bridge.topics import LONGEST_TOPIC


class InvalidFilter(ValueError):
    """No broker would accept the filter."""


def check_filter(text: str) -> None:
    """Raise InvalidFilter with the problem of an invalid filter (MQTT 5.0, section 4.7)."""
    levels = text.split("/")
    if not text or "\0" in text or len(text.encode(errors="surrogateescape")) > LONGEST_TOPIC:
        raise InvalidFilter(f"expected 1 to {LONGEST_TOPIC} bytes, none of them zero")
    for level in levels:
        if level not in ("+", "#") and set(level) & set("+#"):
            raise InvalidFilter(f"a wildcard has to be a whole level, not part of {level!r}")
    if "#" in levels[:-1]:
        raise InvalidFilter("# is only allowed as the last level")


def matches_any(topic_filter: str, topics: Iterable[str]) -> bool:
    return any(topic_matches_sub(topic_filter, topic) for topic in topics)
