"""Raised price alerts of owners as announcements of the bridge."""

from collections.abc import Iterator
from functools import partial

from mqtt_bridge.announcements import Announcement
from mqtt_bridge.payloads import as_json, unix
from mqtt_bridge.topics import Message, as_level, message
from portfolio.models import PriceAlertNotice
from portfolio.price_alerts.notices import mark_published, unpublished_notices

SCHEMA = "stockqueue.price_alert/1"
AT_ONCE = 200
"""Notices that are published before the next search."""


def due() -> Iterator[Announcement]:
    """The unpublished notices, the oldest first. A single query."""
    for notice in unpublished_notices(AT_ONCE):
        yield Announcement(str(notice.pk), message_of(notice), partial(mark_published, notice))


def message_of(notice: PriceAlertNotice) -> Message:
    """The message of a raised alert."""
    symbol = notice.stock.symbol
    payload = {
        "schema": SCHEMA,
        "event_id": str(notice.event_id),
        "user_id": notice.user_id,
        "symbol": symbol,
        "kind": notice.kind,
        "threshold": float(notice.threshold),
        "currency": notice.currency,
        "price": float(notice.price),
        "change_percent": notice.change_percent,
        "timestamp": unix(notice.at),
        "at": notice.at.isoformat(),
    }
    # A symbol that no topic may have must not stop the bridge.
    return message("price_alert", as_json(payload), user_id=str(notice.user_id), symbol=as_level(symbol))
