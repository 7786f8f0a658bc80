"""The one place that decides whether a stock's data is stale."""

from datetime import datetime, timedelta

from django.conf import settings


def freshness_limit() -> timedelta:
    """How old a check may be before the stock is stale."""
    return timedelta(minutes=settings.JOB_PROCESSOR.stock_jobs.portfolio_priority.data_staleness_threshold)


def is_stale(checked_at: datetime | None, now: datetime) -> bool:
    """Whether a stock last checked at `checked_at` (None: never) has to be fetched at `now`."""
    return checked_at is None or now - checked_at >= freshness_limit()
