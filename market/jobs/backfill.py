"""Backfills: fetches of a range of days, their treatment of stored bars, and their cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum

from django.conf import settings

from market.models import Stock
from market.prices.gaps import count_missing_days
from market.sources import available_sources
from market.sources.budget import allowed_in, limit_of

LONGEST_RANGE_YEARS = 60
LONGEST_RANGE = timedelta(days=21_915)


class InvalidRange(ValueError):
    """A range of days is not valid; `of_start` tells whether the first day is wrong, or the last."""

    def __init__(self, message: str, *, of_start: bool) -> None:
        super().__init__(message)
        self.of_start = of_start


class Mode(StrEnum):
    """How a backfill treats the stored bars of its range."""

    UPDATE = "update"
    """Fetch all days; write new and different bars."""
    GAPS = "gaps"
    """Fetch only sessions without a bar."""
    REPLACE = "replace"
    """Fetch all days; write the bars, and remove stored bars in between that the source lacks."""


def check_range(start: date, end: date | None, today: date) -> None:
    """Check the days of a backfill; None means today. Raises InvalidRange with the reason."""
    for day in (start, end):
        if day is not None and day > today:
            raise InvalidRange(f"{day} is in the future; the latest day is {today} (UTC)", of_start=day is start)
    last = end or today
    if start > last:
        raise InvalidRange(f"{start} is after {last}; choose an earlier first day", of_start=True)
    if last - start > LONGEST_RANGE:
        raise InvalidRange(
            f"{start} is more than {LONGEST_RANGE_YEARS} years before {last}; the earliest is {last - LONGEST_RANGE}",
            of_start=True,
        )


@dataclass(frozen=True)
class Preview:
    """The cost of a backfill: sessions without a bar by symbol, requests, and minutes at the current budget."""

    missing: dict[str, int]
    requests: int
    minutes: float


def preview(stocks: Sequence[Stock], start: date, end: date | None, mode: Mode, *, now: datetime) -> Preview:
    """The cost of `request_fetches` for stocks, if the first source served nothing else.

    A stock need not be saved yet. Nothing is written. Takes one query for each exchange's calendar.
    """
    missing = count_missing_days(stocks, start, end or now.date(), now)
    requests = sum(mode != Mode.GAPS or days > 0 for days in missing.values())
    share = settings.JOB_PROCESSOR.stock_jobs.data_fetch.background_share
    return Preview(missing, requests, requests / allowed_in(limit_of(first_source()), share))


def first_source() -> str:
    """The first available source; empty if none is available."""
    return next(iter(available_sources()), "")
