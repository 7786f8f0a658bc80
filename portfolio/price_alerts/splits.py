"""Adjusts thresholds to splits, which show in the closes of earlier days.

A source adjusts all its earlier closes to a split, so this needs no list of splits, and follows corrections, too. Each
alert on a price has a base: a settled day, and its close.
"""

from collections.abc import Iterable
from datetime import date
from decimal import Decimal

from market.models import PriceBar
from portfolio.price_alerts.models import DIGITS, PLACES, SMALLEST, PriceAlert
from portfolio.price_alerts.prices import Price

RESCALED = 0.02
"""A settled close that has changed by more, relative to its earlier value, was adjusted for a split."""
_LARGEST = Decimal(10) ** (DIGITS - PLACES - 1)


def take_base(alert: PriceAlert, price: Price) -> bool:
    """Give the alert its base, the close before the newest. Return False if that close is not settled yet."""
    if price.before_on is None or price.before is None or not price.is_comparable:
        return False
    alert.base_on, alert.base_close = price.before_on, price.in_currency(price.before)
    return True


def adjust_to_splits(priced: Iterable[tuple[PriceAlert, Price]]) -> set[int]:
    """Adjust the thresholds of prices, and give alerts without a base theirs; return the ids of changed alerts."""
    on_price = [(alert, price) for alert, price in priced if alert.is_on_price]
    closes = _closes({(alert.stock_id, alert.base_on) for alert, _ in on_price if alert.base_on})
    return {
        alert.pk
        for alert, price in on_price
        if (take_base(alert, price) if alert.base_on is None else _adjust(alert, price, closes))
    }


def _adjust(alert: PriceAlert, price: Price, closes: dict[tuple[int, date | None], float]) -> bool:
    stored = closes.get((alert.stock_id, alert.base_on))
    if not stored or not alert.base_close:
        return False
    close = price.in_currency(stored)
    if abs(close / alert.base_close - 1) <= RESCALED:
        return False
    threshold = (alert.threshold * Decimal(repr(close)) / Decimal(repr(alert.base_close))).quantize(SMALLEST)
    if not SMALLEST <= threshold < _LARGEST:
        return False
    alert.threshold, alert.base_close, alert.adjusted_on = threshold, close, price.day
    return True


def _closes(days: set[tuple[int, date]]) -> dict[tuple[int, date | None], float]:
    """The stored closes of stocks on some days, in a single query."""
    stocks, dates = {stock for stock, _ in days}, {day for _, day in days}
    bars = PriceBar.objects.filter(stock__in=stocks, date__in=dates).order_by()
    return {(stock, day): close for stock, day, close in bars.values_list("stock_id", "date", "close")}
