"""The splits in Yahoo's charts, in whole shares: yfinance keeps only the quotient of a split."""

from collections.abc import Iterable
from datetime import date, datetime
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from market.sources.base import Split
from market.sources.yahoo.json_values import number_of

_NOTED = "splits"
"""The name of the splits among the facts of a chart."""
LARGEST_TERM = 1_000_000
LARGEST_SMALLER_TERM = 100
"""Splits are told as 4:1, 1:30 or 103:100. Yahoo tells a spin-off as a split such as 1281:1000, by its prices."""


def note_splits(answer: Any) -> bool:
    """Copy the splits of a chart, as read from JSON, to its facts. Whether there are any."""
    try:
        chart = answer["chart"]["result"][0]
        chart["meta"][_NOTED] = list(chart["events"]["splits"].values())
    except (LookupError, TypeError, AttributeError):  # most charts have no splits
        return False
    return True


def noted_splits(facts: Any, first: date) -> tuple[Split, ...]:
    """The splits since `first` among the facts of a chart, without spin-offs and unreadable entries."""
    found: Iterable[Any] = facts.get(_NOTED) or ()
    zone = ZoneInfo(facts["exchangeTimezoneName"])
    splits = (_read(entry, zone) for entry in found if isinstance(entry, dict))
    return tuple(sorted({split for split in splits if split and first <= split.date}))


def _read(entry: dict[str, Any], zone: ZoneInfo) -> Split | None:
    at, new, old = (number_of(entry.get(name)) for name in ("date", "numerator", "denominator"))
    if at is None or new is None or old is None or not (0 < new <= LARGEST_TERM and 0 < old <= LARGEST_TERM):
        return None
    numerator, denominator = _whole(new, old)
    if numerator == denominator or min(numerator, denominator) > LARGEST_SMALLER_TERM:
        return None
    try:
        return Split(datetime.fromtimestamp(at, zone).date(), numerator, denominator)
    except (ValueError, OverflowError, OSError):
        return None


def _whole(new: float, old: float) -> tuple[int, int]:
    """The terms in whole shares: 3 and 2 for 1.5 and 1. Whole terms stay as they are."""
    if new == int(new) and old == int(old):
        return int(new), int(old)
    return (Fraction(str(new)) / Fraction(str(old))).as_integer_ratio()
