"""Values of Yahoo's JSON answers, of which any part may be missing or of another type."""

from datetime import UTC, datetime
from typing import Any

from market.text import clean_text

LARGEST = 1e18
"""No real amount in any currency is as large; larger numbers are mistakes."""


def number_of(value: Any) -> float | None:
    """A finite number; None for texts ("Infinity") and for NaN, which is not less than anything."""
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST:
        return float(value)
    return None


def moment_of(value: Any) -> datetime | None:
    """The time of Unix seconds, in UTC; None for 0 and below."""
    seconds = number_of(value)
    if seconds is None or seconds <= 0:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):  # after the year 9999
        return None


def text_of(value: Any, longest: int) -> str:
    """A clean text without line breaks; empty for anything else than text."""
    return clean_text(value, longest) if isinstance(value, str) else ""
