"""These functions store prices as fetches do, and have Yahoo serve them."""

from collections.abc import Iterable, Sequence
from dataclasses import astuple, replace
from datetime import date, timedelta
from typing import Any

from django.utils import timezone

from market.models import Stock
from market.prices.store import store_history, upsert_bars
from market.sources.base import Bar, History
from tests.support.standins import yahoo_chart
from tests.support.standins.yahoo import YahooStandIn, daily_bars, last_weekday

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


def keep(stock: Stock, bars: Sequence[yahoo_chart.Bar]) -> None:
    """Have these bars stored."""
    upsert_bars(stock, [Bar(*astuple(bar)) for bar in bars])


def serve(yahoo: Any, bars: Sequence[yahoo_chart.Bar], exchange: str = "CCC") -> None:
    """Have Yahoo know AAPL with these bars."""
    yahoo.touched.append("AAPL")
    yahoo.server.serve("AAPL", bars, exchange=exchange)


def quotable(server: YahooStandIn, *symbols: str) -> list[Stock]:
    """Stale stocks of an exchange that never closes, for which quotes can stand: Yahoo has a bar more than stored."""
    today = timezone.now().date()
    days = [today - timedelta(days=age) for age in range(25, 0, -1)]
    for symbol in symbols:
        plain = daily_bars(symbol, len(days))
        bars = [replace(bar, date=day, adj_close=bar.close) for bar, day in zip(plain, days, strict=True)]
        server.serve(symbol, bars, timezone="UTC")
        Stock.objects.get_or_create(symbol=symbol)
        known = [Bar(*astuple(bar)) for bar in bars[:-1]]
        answer = History(symbol, "yahoo_finance", known, exchange="CCC", currency="USD")
        store_history(answer, timezone.now() - timedelta(days=1))
    stocks = Stock.objects.in_bulk(symbols, field_name="symbol")
    return [stocks[symbol] for symbol in symbols]


def stored_days(stock: Stock) -> list[date]:
    return list(stock.bars.order_by("date").values_list("date", flat=True))


def flat_bars(days: Iterable[date], closes: Iterable[float]) -> list[Bar]:
    """Bars without a range: open, high and low are the close."""
    return [Bar(day, close, close, close, close, close, 1_000) for day, close in zip(days, closes, strict=True)]


def store_closes(symbol: str, *closes: float) -> Stock:
    """Have daily closes until today stored, in USD, at an exchange that never closes."""
    stock, _ = Stock.objects.get_or_create(symbol=symbol)
    today = timezone.now().date()
    days = [today - timedelta(days=age) for age in range(len(closes))]
    bars = flat_bars(days[::-1], closes)
    store_history(History(symbol, "yahoo_finance", bars, exchange="CCC", currency="USD"), timezone.now())
    return stock
