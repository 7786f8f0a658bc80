"""Histories are asked for since this day, of these symbols, and compared by these values."""

from datetime import timedelta
from itertools import count
from typing import Any

from django.utils import timezone

SINCE = timezone.now().date() - timedelta(days=60)

# yfinance and its caches outlive a test: each asks for a symbol of its own.
new_symbols = (f"NEW{number}" for number in count())


def six_values(bars) -> list[tuple[Any, ...]]:
    return [(bar.date, bar.open, bar.high, bar.low, bar.close, bar.adj_close, bar.volume) for bar in bars]
