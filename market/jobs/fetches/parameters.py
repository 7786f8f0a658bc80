"""The parameters of fetch jobs."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from django.conf import settings
from pydantic import BaseModel, Field

from market.jobs.backfill import Mode
from market.sources import first_has_quotes

LONGEST_RANGE = 36_525


class FetchParameters(BaseModel):
    """The days to fetch of a stock: from `start` to `end`, or the last `days` days."""

    days: int = Field(default=30, ge=1, le=LONGEST_RANGE)
    start: date | None = None
    end: date | None = None
    mode: Mode = Mode.UPDATE

    def first_day(self, today: date) -> date:
        return self.start or today - timedelta(days=self.days)

    def reaches(self, today: date) -> bool:
        """Whether the range includes the newest bar."""
        return self.end is None or self.end >= today


class BatchParameters(FetchParameters):
    """A fetch of several stocks."""

    symbols: list[str] = Field(min_length=1)
    ahead: float = Field(default=0, ge=0)
    """Minutes: stocks that go stale within this time are fetched, too."""
    charts: bool = False
    """Whether the charts of all stocks are fetched, fresh or not."""


def quote_size() -> int:
    """The most stocks in a request for quotes; 1 if no quotes are asked for."""
    size: int = settings.JOB_PROCESSOR.stock_jobs.data_fetch.quote_size
    return size if first_has_quotes() else 1


def why_no_quotes(parameters: FetchParameters) -> str:
    """Why no quotes are asked for; empty if they are."""
    if parameters.start is not None:
        return "quotes have no past days"
    if isinstance(parameters, BatchParameters) and parameters.charts:
        return "the chart was asked for"
    return "quotes are not used" if quote_size() == 1 else ""


def may_be_quoted(parameters: Mapping[str, Any]) -> bool:
    """Whether a quote may answer a fetch: no range of days, and the stock was fetched before.

    A stock without bars needs a chart, and its fetch costs a whole request.
    """
    return parameters.get("start") is None and parameters.get("data_age_minutes") is not None and quote_size() > 1
