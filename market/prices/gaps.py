"""Missing days of a stock's history."""

from bisect import bisect_left
from collections.abc import Sequence
from datetime import date, datetime, timedelta

from django.db.models import Count, F, Q
from django.utils.module_loading import import_string

from market.calendar.exchanges import Exchange, exchange_of
from market.models import PriceBar, Stock


def missing_days(stock: Stock, first: date, last: date, now: datetime) -> list[date]:
    """The ended sessions of the stock's exchange from `first` to `last` without a stored bar.

    Days before the start of the stock's history, as a source gave it, are not missing. The stock need not be saved
    yet. Imports pandas, except for exchanges without a calendar.
    """
    if stock.history_starts:
        first = max(first, stock.history_starts)
    if first > last:
        return []
    bars = PriceBar.objects.filter(stock__symbol=stock.symbol, date__range=(first, last))
    stored = set(bars.values_list("date", flat=True))
    return [day for day in _days_of_trading(exchange_of(stock.exchange), first, last, now) if day not in stored]


def count_missing_days(stocks: Sequence[Stock], first: date, last: date, now: datetime) -> dict[str, int]:
    """The number of `missing_days` by symbol. Takes one query for each exchange among the stocks."""
    by_exchange: dict[Exchange, list[Stock]] = {}
    for stock in stocks:
        by_exchange.setdefault(exchange_of(stock.exchange), []).append(stock)
    missing = {stock.symbol: 0 for stock in stocks}
    for exchange, members in by_exchange.items():
        days = _days_of_trading(exchange, first, last, now)
        stored = _count_stored(members, days)
        for stock in members:
            starts = bisect_left(days, stock.history_starts) if stock.history_starts else 0
            missing[stock.symbol] = len(days) - starts - stored.get(stock.symbol, 0)
    return missing


def _count_stored(stocks: Sequence[Stock], days: Sequence[date]) -> dict[str, int]:
    """The number of days with a bar, by symbol, without days before the stock's history. `days` is sorted."""
    if not days:
        return {}
    # The range limits the rows to read; the days, perhaps thousands, are only looked up.
    bars = PriceBar.objects.filter(
        stock__symbol__in=[stock.symbol for stock in stocks], date__range=(days[0], days[-1])
    )
    counts = Q(date__in=days) & (Q(stock__history_starts=None) | Q(date__gte=F("stock__history_starts")))
    return dict(bars.order_by().values_list("stock__symbol").annotate(stored=Count("pk", filter=counts)))


def _days_of_trading(exchange: Exchange, first: date, last: date, now: datetime) -> list[date]:
    """The ended sessions, in order; Monday to Friday as far as no calendar knows them."""
    if exchange.calendar:
        session_days = import_string("market.calendar.exchange_calendars.session_days")
        return [day for day, closes_at in session_days(exchange.calendar, first, last) if closes_at <= now]
    last = min(last, now.date() - timedelta(days=1))
    days = (first + timedelta(days=number) for number in range((last - first).days + 1))
    return [day for day in days if exchange.never_closes or day.weekday() < 5]
