"""Shares and ages."""

from datetime import datetime


def share(part: int, whole: int) -> float | None:
    """`part` / `whole`, 0 to 1; None for a `whole` of 0."""
    return part / whole if whole else None


def age(moment: datetime | None, now: datetime) -> float | None:
    """Seconds from `moment` to `now`, at least 0; None without a moment."""
    return None if moment is None else round(max((now - moment).total_seconds(), 0.0), 3)
