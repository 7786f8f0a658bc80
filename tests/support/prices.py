"""Stocks with prices, as fetches store them."""

from datetime import date
from typing import Any

from django.utils import timezone

from market.models import Stock
from market.prices.store import store_history
from market.sources.base import Bar, History
from tests.support.standins.yahoo import daily_bars, last_weekday

LAST_SESSION = last_weekday()
"""The day of the newest bar that the stand-in for Yahoo serves today."""


def stored(symbol: str = "AAPL", days: int = 300, until: date = LAST_SESSION, **changes: Any) -> Stock:
    """A stock with the bars of a source, as a fetch of this many weekdays stores them."""
    Stock.objects.get_or_create(symbol=symbol)
    bars = [
        Bar(*(changes.get(name, getattr(bar, name)) for name in Bar._fields))
        for bar in daily_bars(symbol, days, until=until)
    ]
    store_history(History(symbol, "yahoo_finance", bars, exchange="CCC"), timezone.now())
    return Stock.objects.get(symbol=symbol)
