"""Names of requested jobs: for groups, and for the subjects of mails."""

from collections.abc import Sequence
from datetime import date

from django.utils import timezone

from market.jobs.backfill import Mode
from market.models import Stock

NAMED = 3
"""The most stocks that a name lists; larger sets are counted."""


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
