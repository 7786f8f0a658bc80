"""Backfills: fetches of a range of days, what they do with the bars that are there, and what they will cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from django.conf import settings

from market.gaps import missing_days
from market.models import Stock
from market.sources.budget import allowed_in, limit_of


class Mode(StrEnum):
    """What a backfill does with the bars of its range."""

    UPDATE = "update"
    """Fetch all days; write those that are new or different."""
    GAPS = "gaps"
    """Fetch only where a session's bar is missing."""
    REPLACE = "replace"
    """Fetch all days; write them, and remove the bars in between that the source does not have."""


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

    A stock need not be saved yet. Nothing is written.
    """
    missing = {stock.symbol: len(missing_days(stock, start, end or now.date(), now)) for stock in stocks}
    requests = sum(mode != Mode.GAPS or days > 0 for days in missing.values())
    return Preview(missing, requests, requests / allowed_in(limit_of(first_source()), background=True))


def first_source() -> str:
    """The source that is asked first, as `stock_jobs.data_fetch.sources` has it."""
    return str(settings.JOB_PROCESSOR.stock_jobs.data_fetch.sources[0])
