"""Which closes are suspicious: jumps that no split or dividend explains, and that no later session confirms."""

from collections.abc import Collection, Sequence
from datetime import date
from typing import NamedTuple

JUMP = 0.4
"""A change from one session to the next that is suspicious, relative to the earlier close."""
ROUNDING = 1e-9


class Close(NamedTuple):
    """The close of a session."""

    date: date
    price: float


def suspicious_days(closes: Sequence[Close], actions: Collection[date], accepted: Collection[date] = ()) -> set[date]:
    """The days whose close jumps from the last trusted close. The next close confirms a jump if it stays there.

    `closes` are in date order; the first is trusted. A jump on a day with a split or dividend is explained. A close of
    an `accepted` day is right, and may be a spike: the next close may stay there or return. Prices of different signs,
    as of oil in April 2020, are not judged.
    """
    suspicious: set[date] = set()
    levels: list[Close] = []
    for place, close in enumerate(closes):
        if close.date in accepted:
            levels.append(close)
            continue
        if levels and all(_is_jump(level.price, close.price) for level in levels):
            is_explained = any(levels[-1].date < day <= close.date for day in actions)
            is_confirmed = place + 1 < len(closes) and not _is_jump(close.price, closes[place + 1].price)
            if not (is_explained or is_confirmed):
                suspicious.add(close.date)
                continue
        levels = [close]
    return suspicious


def _is_jump(before: float, after: float) -> bool:
    return before * after > 0 and abs(after / before - 1) >= JUMP - ROUNDING
