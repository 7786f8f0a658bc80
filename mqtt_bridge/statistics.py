"""Statistics on MQTT, on request or for everybody. `operations` registers the function that collects the figures."""

import json
import logging
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from mqtt_bridge.payloads import as_json, unix
from mqtt_bridge.topics import Message, message

logger = logging.getLogger(__name__)

SCHEMA = "stockqueue.stats/1"
LONGEST_REQUEST = 1_024
"""Bytes."""
LONGEST_ID = 200
"""Characters of a request's id."""


@dataclass(frozen=True)
class PriorityDepth:
    """The active jobs of a priority."""

    priority: int
    pending: int
    queued: int
    running: int


@dataclass(frozen=True)
class QueueDepth:
    """A queue and its active jobs by priority, the most urgent first."""

    queue: str
    priorities: list[PriorityDepth]


@dataclass(frozen=True)
class WorkerCounts:
    alive: int
    gone: int


@dataclass(frozen=True)
class OutboxState:
    """The number of unpublished events, and the age of the oldest event in seconds."""

    waiting: int
    oldest_age: float | None


@dataclass(frozen=True)
class StockCounts:
    """Counts of held stocks."""

    fresh: int
    stale: int


@dataclass(frozen=True)
class Figures:
    """The figures of a statistics message at the time `at`."""

    at: datetime
    queues: list[QueueDepth]
    workers: WorkerCounts
    outbox: OutboxState
    stocks: StockCounts


@dataclass(frozen=True)
class StatisticsRequest:
    """A request for statistics; the answer repeats `request_id`."""

    request_id: str | int | None


_figures: Callable[[], Figures] | None = None


def configure(figures: Callable[[], Figures]) -> None:
    """Register the function that collects the figures."""
    global _figures
    _figures = figures


def answer(requests: Collection[StatisticsRequest]) -> list[Message]:
    """A message for each request, all with the same figures, which are collected once."""
    if not requests or _figures is None:
        return []
    figures = _figures()
    return [statistics_message(figures, request.request_id) for request in requests]


def statistics_message(figures: Figures, request_id: str | int | None = None) -> Message:
    """The figures as the answer to `request_id`, or for everybody."""
    payload = {
        "schema": SCHEMA,
        "timestamp": unix(figures.at),
        "at": figures.at.isoformat(),
        "request_id": request_id,
        "queues": [_with_sums(asdict(queue)) for queue in figures.queues],
        "workers": asdict(figures.workers),
        "outbox": asdict(figures.outbox),
        "stocks": asdict(figures.stocks),
    }
    return message("system_stats", as_json(payload))


def _with_sums(queue: dict[str, Any]) -> dict[str, Any]:
    sums = {state: sum(one[state] for one in queue["priorities"]) for state in ("pending", "queued", "running")}
    return queue | sums


def parse_request(payload: bytes) -> StatisticsRequest | None:
    """Parse a message on `system_stats_request`: `{timestamp, request_id}`. Log anything else, and return None.

    The time of the request is not needed. An id is a text or a whole number, and may be missing.
    """
    try:
        return StatisticsRequest(_read_id(payload))
    except _NotARequest as problem:
        logger.warning("ignored a request for statistics: %s", problem)
        return None


class _NotARequest(ValueError):
    """The problem with a request in a short line, whatever its payload."""


def _read_id(payload: bytes) -> str | int | None:
    if len(payload) > LONGEST_REQUEST:
        raise _NotARequest(f"it has {len(payload)} bytes; at most {LONGEST_REQUEST} are allowed")
    try:
        content = json.loads(payload)
    except (ValueError, RecursionError):
        raise _NotARequest(f"{payload[:60]!r} is not JSON") from None
    if not isinstance(content, dict):
        raise _NotARequest(f"{payload[:60]!r} is not an object with a request_id")
    request_id = content.get("request_id")
    if isinstance(request_id, bool) or not isinstance(request_id, str | int | None):
        raise _NotARequest(f"request_id: {request_id!r:.60} is neither a text nor a whole number")
    if len(str(request_id)) > LONGEST_ID:
        raise _NotARequest(f"request_id: {request_id!r:.60} is longer than {LONGEST_ID} characters")
    return request_id
