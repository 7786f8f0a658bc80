"""Backfills: fetches of a range of days, what they do with the bars that are there, and what they will cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum

from market.models import Stock
from market.prices.gaps import count_missing_days
from market.sources import available_sources
from market.sources.budget import allowed_in, limit_of

LONGEST_RANGE_YEARS = 60
LONGEST_RANGE = timedelta(days=21_915)


class InvalidRange(ValueError):
    """The days cannot be those of a backfill; `of_start` tells whether the first one is wrong, or the last."""

    def __init__(self, message: str, *, of_start: bool) -> None:
        super().__init__(message)
        self.of_start = of_start


class Mode(StrEnum):
    """What a backfill does with the bars of its range."""

    UPDATE = "update"
    """Fetch all days; write those that are new or different."""
    GAPS = "gaps"
    """Fetch only where a session's bar is missing."""
    REPLACE = "replace"
    """Fetch all days; write them, and remove the bars in between that the source does not have."""


def check_range(start: date, end: date | None, today: date) -> None:
    """InvalidRange says what is wrong with the days of a backfill; None is today."""
    for day in (start, end):
        if day is not None and day > today:
            raise InvalidRange(f"{day} is in the future; the latest day is {today} (UTC)", of_start=day is start)
    last = end or today
    if start > last:
        raise InvalidRange(f"{start} is after {last}; the first day comes first", of_start=True)
    if last - start > LONGEST_RANGE:
        raise InvalidRange(
            f"{start} is more than {LONGEST_RANGE_YEARS} years before {last}; the earliest is {last - LONGEST_RANGE}",
            of_start=True,
        )


@dataclass(frozen=True)
class Preview:
    """What a backfill will cost: sessions without a bar by symbol, requests, and minutes at the current budget.

    A stock takes one request, and one more when its time zone is asked for the first time.
    """

    missing: dict[str, int]
    requests: int
    minutes: float


def preview(stocks: Sequence[Stock], start: date, end: date | None, mode: Mode, *, now: datetime) -> Preview:
    """What `request_fetches` of these stocks would cost, if nothing else were asked of the first source.

    A stock need not be saved yet. Nothing is written. Takes one query for each exchange's calendar.
    """
    missing = count_missing_days(stocks, start, end or now.date(), now)
    requests = sum(mode != Mode.GAPS or days > 0 for days in missing.values())
    return Preview(missing, requests, requests / allowed_in(limit_of(first_source()), background=True))


def first_source() -> str:
    """The source that is asked first; empty where none can be asked here."""
    return next(iter(available_sources()), "")
