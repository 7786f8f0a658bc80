"""Writes what a source answered: bars that are new or changed, and what is known of the stock."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from django.db import transaction

from market.models import PriceBar, Stock
from market.sources.base import Bar, History
from market.volatility import RETURNS, realised_volatility

MISSES_UNTIL_PARKED = 3
_WRITTEN = [
    *("name", "exchange", "currency", "source", "checked_at", "volatility"),
    *("status", "misses", "missed_on"),
]
_VALUES = ("open", "high", "low", "close", "adj_close", "volume")


@dataclass(frozen=True)
class Stored:
    """What a fetch changed. `written` counts the bars that were new or different."""

    received: int
    written: int
    latest_before: date | None
    latest_after: date


def upsert_bars(stock: Stock, bars: Sequence[Bar]) -> int:
    """Insert the bars that are new and overwrite those that differ; how many were written. Others cost no write."""
    if not bars:
        return 0
    known = {
        row[0]: row[1:]
        for row in stock.bars.filter(date__gte=min(bar.date for bar in bars)).values_list("date", *_VALUES)
    }
    changed = [
        PriceBar(stock=stock, **bar._asdict())
        for bar in bars
        if known.get(bar.date) != tuple(getattr(bar, name) for name in _VALUES)
    ]
    PriceBar.objects.bulk_create(
        changed, update_conflicts=True, unique_fields=["stock", "date"], update_fields=list(_VALUES)
    )
    return len(changed)


def store_history(history: History, checked_at: datetime) -> Stored:
    """Write a source's answer; the stock counts as checked at `checked_at`."""
    with transaction.atomic():
        stock = Stock.objects.get(symbol=history.symbol)
        before = _latest_date(stock)
        written = upsert_bars(stock, history.bars)
        if written:
            stock.volatility = realised_volatility(_last_closes(stock))
        for field in ("name", "exchange", "currency"):
            if told := getattr(history, field)[: getattr(Stock, field).field.max_length]:
                setattr(stock, field, told)
        stock.source = history.source
        stock.checked_at = checked_at
        stock.status, stock.misses, stock.missed_on = Stock.Status.ACTIVE, 0, None
        stock.save(update_fields=_WRITTEN)
        newest = history.bars[-1].date
        return Stored(len(history.bars), written, before, max(newest, before or newest))


def note_miss(symbol: str, checked_at: datetime) -> None:
    """No source knows it: that is an answer, so that it is not asked for again within the limit.

    The third such day parks it; misses count once a day, since sources have bad hours, in which they know nothing.
    """
    with transaction.atomic():
        stock = Stock.objects.select_for_update(no_key=True).get(symbol=symbol)
        stock.checked_at = checked_at
        if stock.missed_on != checked_at.date():
            stock.misses, stock.missed_on = stock.misses + 1, checked_at.date()
        if stock.misses >= MISSES_UNTIL_PARKED:
            stock.status = Stock.Status.DELISTED if stock.bars.exists() else Stock.Status.UNKNOWN
        stock.save(update_fields=["checked_at", "misses", "missed_on", "status"])


def _latest_date(stock: Stock) -> date | None:
    return stock.bars.order_by("-date").values_list("date", flat=True).first()


def _last_closes(stock: Stock) -> list[float]:
    newest_first = stock.bars.order_by("-date").values_list("close", flat=True)[: RETURNS + 1]
    return list(newest_first)[::-1]
