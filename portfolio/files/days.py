"""Days as files write them: `2026-03-02`, `20260302`, `3/2/2026`, `02.03.2026`, `Mar 2, 2026`; a time may follow."""

import re
from collections.abc import Iterable, Sequence
from datetime import date
from itertools import pairwise

_ISO = re.compile(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})")
_JOINED = re.compile(r"(\d{4})(\d{2})(\d{2})")
_NUMBERS = re.compile(r"(\d{1,2})[-/.](\d{1,2})[-/.](\d{4}|\d{2})\b")
_DAY_FIRST = re.compile(r"(\d{1,2})[- ]([A-Za-z]{3,9})[- ](\d{4}|\d{2})\b")
_MONTH_FIRST = re.compile(r"([A-Za-z]{3,9})[- ](\d{1,2}),?[- ](\d{4})\b")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def parse_day(text: str, *, month_first: bool) -> date | None:
    """The day in a cell, and None for any other text. With `month_first`, `3/2/2026` is March 2."""
    first = re.split(r"[T,;]|\s", text.strip(), maxsplit=1)[0]
    if found := _ISO.match(first) or _JOINED.fullmatch(first):
        return _day(found[1], found[2], found[3])
    if found := _NUMBERS.fullmatch(first):
        year = found[3] if len(found[3]) == 4 else f"20{found[3]}"
        month, day = (found[1], found[2]) if month_first else (found[2], found[1])
        return _day(year, month, day)
    return _named(text.strip())


def has_month_first(texts: Iterable[str]) -> bool:
    """Whether `3/2/2026` means March 2 in these cells. Most files are in the order of time."""
    cells = [text.strip() for text in texts if _NUMBERS.match(text.strip())]
    fits = [month_first for month_first in (True, False) if all(parse_day(c, month_first=month_first) for c in cells)]
    if len(fits) == 1:
        return fits[0]
    ordered = [month_first for month_first in fits if _is_ordered(cells, month_first=month_first)]
    if len(ordered) == 1:
        return ordered[0]
    return any("/" in cell for cell in cells)  # the American sign


def _is_ordered(cells: Sequence[str], *, month_first: bool) -> bool:
    days = [day for cell in cells if (day := parse_day(cell, month_first=month_first))]
    return all(a <= b for a, b in pairwise(days)) or all(a >= b for a, b in pairwise(days))


def _day(year: str, month: str, day: str) -> date | None:
    try:
        return date(int(year), int(month), int(day))
    except ValueError:
        return None


def _named(text: str) -> date | None:
    """A day with an English name of a month, such as `Mar 2, 2026` and `02-Mar-26`."""
    if found := _DAY_FIRST.match(text):
        day, name, year = found.groups()
    elif found := _MONTH_FIRST.match(text):
        name, day, year = found.groups()
    else:
        return None
    short = name[:3].casefold()
    month = _MONTHS.index(short) + 1 if short in _MONTHS else 0
    return _day(year if len(year) == 4 else f"20{year}", str(month), day)
