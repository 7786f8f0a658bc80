"""Which days of a stock's history are missing."""

from datetime import date, datetime, timedelta

from django.utils.module_loading import import_string

from market.exchanges import NEVER_CLOSES, exchange_of
from market.models import PriceBar, Stock


def missing_days(stock: Stock, first: date, last: date, now: datetime) -> list[date]:
    """The sessions of the stock's exchange from `first` to `last` that have ended and that no bar is stored of.

    Days before its history starts are not missing: a source said so.
    The stock need not be saved yet. Imports pandas where the exchange ever closes.
    """
    if stock.history_starts:
        first = max(first, stock.history_starts)
    if first > last:
        return []
    bars = PriceBar.objects.filter(stock__symbol=stock.symbol, date__range=(first, last))
    stored = set(bars.values_list("date", flat=True))
    return [day for day in _days_of_trading(stock, first, last, now) if day not in stored]


def _days_of_trading(stock: Stock, first: date, last: date, now: datetime) -> list[date]:
    calendar = exchange_of(stock.exchange).calendar
    if calendar == NEVER_CLOSES:
        yesterday = now.date() - timedelta(days=1)
        return [first + timedelta(days=number) for number in range((min(last, yesterday) - first).days + 1)]
    session_days = import_string("market.calendars.session_days")
    return [day for day, closes_at in session_days(calendar, first, last) if closes_at <= now]
