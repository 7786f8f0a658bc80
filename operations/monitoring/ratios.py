"""Shares and ages."""

from datetime import datetime


def share(part: int, whole: int) -> float | None:
    """0 to 1; None where there is nothing."""
    return part / whole if whole else None


def age(moment: datetime | None, now: datetime) -> float | None:
    """Seconds since then."""
    return None if moment is None else round(max((now - moment).total_seconds(), 0.0), 3)
