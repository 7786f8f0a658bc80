"""Keeps together what one user asked for at once, so that it can be followed to its end."""

from collections.abc import Sequence
from datetime import date

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from market.models import Stock
from tasks.backfill import Mode
from tasks.enqueue import Requested
from tasks.models import JobGroup

NAMED = 3
"""Stocks that a group's words name; more are counted."""


def group_jobs(what: str, requested: Requested, user: User) -> JobGroup:
    """Keep the jobs together that `user` made or joined; `what` is what was asked for."""
    with transaction.atomic():
        group = JobGroup.objects.create(user=user, what=" ".join(what.split()))  # it is a mail's subject
        group.jobs.add(*requested.jobs)
    return group


def describe_fetch(subject: str) -> str:
    """`Fetch of AAPL`."""
    return f"Fetch of {subject}"


def describe_analysis(subject: str) -> str:
    """`Analysis of AAPL`."""
    return f"Analysis of {subject}"


def describe_backfill(subject: str, start: date, end: date | None, mode: Mode) -> str:
    """`Backfill of AAPL, 2024-01-01 to 2024-01-31, gaps`."""
    return f"Backfill of {subject}, {start} to {end or timezone.now().date()}, {mode}"


def name_stocks(stocks: Sequence[Stock]) -> str:
    """`AAPL, MSFT`, or `12 stocks`."""
    return ", ".join(stock.symbol for stock in stocks) if len(stocks) <= NAMED else f"{len(stocks)} stocks"
