"""Sets alerts for owners, and refuses alerts that make no sense."""

from collections.abc import Sequence
from decimal import Decimal

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from market.currency import major_unit
from market.models import Stock
from portfolio.price_alerts.models import SMALLEST, Kind, PriceAlert
from portfolio.price_alerts.prices import Price, newest_prices
from portfolio.price_alerts.rules import is_reached
from portfolio.price_alerts.splits import take_base
from portfolio.price_alerts.texts import beside, condition

MOST_ALERTS = 200
"""Alerts of a user."""
HIGHEST_PRICE = Decimal(10) ** 12
PERCENT = Decimal("0.1"), Decimal(1000)
"""The lowest and the highest change in a day that an alert may have."""


class AlertRefused(Exception):
    """The alert was not set; the message tells the owner the reason and a right input."""


def set_alert(user: User, stock: Stock, kind: str, threshold: Decimal) -> PriceAlert:
    """Set an alert. Raises AlertRefused."""
    _check_range(kind, threshold)
    with transaction.atomic():
        # Checks of the stock's alerts hold this lock, too.
        stock = Stock.objects.select_for_update(no_key=True).get(pk=stock.pk)
        _check_others(user, stock, kind, threshold)
        price = newest_prices([stock], timezone.now()).get(stock.pk)
        alert = PriceAlert(
            user=user, stock=stock, kind=kind, threshold=threshold, currency=major_unit(stock.currency).currency
        )
        if kind == Kind.MOVED:
            _skip_reached(alert, price)
        else:
            _take_base(alert, price)
        alert.save()
    return alert


def alerts_of(user: User, stock: Stock | None = None) -> Sequence[PriceAlert]:
    """The user's alerts, on a single stock or on all stocks."""
    alerts = PriceAlert.objects.filter(user=user).select_related("stock")
    return list(alerts if stock is None else alerts.filter(stock=stock))


def _check_range(kind: str, threshold: Decimal) -> None:
    if kind == Kind.MOVED and not PERCENT[0] <= threshold <= PERCENT[1]:
        raise AlertRefused(f"A change in a day is from {PERCENT[0]} to {PERCENT[1]} %; write 5 for 5 %.")
    if not SMALLEST <= threshold < HIGHEST_PRICE:
        raise AlertRefused("A price is above 0 and below 1,000,000,000,000; write an amount such as 123.45.")


def _check_others(user: User, stock: Stock, kind: str, threshold: Decimal) -> None:
    others = PriceAlert.objects.filter(user=user)
    if others.filter(stock=stock, kind=kind, threshold=threshold).exists():
        text = condition(kind, threshold, major_unit(stock.currency).currency)
        raise AlertRefused(f"You have this alert on {stock} already: {text}.")
    if others.count() >= MOST_ALERTS:
        raise AlertRefused(f"You have {MOST_ALERTS} alerts, which is the limit; delete an alert first.")


def _skip_reached(alert: PriceAlert, price: Price | None) -> None:
    """A change that the owner can see already raises nothing: the alert begins with the next session."""
    if price is not None and is_reached(Kind.MOVED, alert.threshold, price):
        alert.raised_on = price.day


def _take_base(alert: PriceAlert, price: Price | None) -> None:
    """Refuse a price that is reached already; else give the alert its base."""
    if price is None:
        raise AlertRefused(f"{alert.stock} has no price yet; set the alert after its first price has arrived.")
    if is_reached(alert.kind, alert.threshold, price):
        text = condition(alert.kind, alert.threshold, alert.currency)
        raise AlertRefused(
            f"{alert.stock} is at {beside(price.price, alert.threshold, alert.currency)} already; "
            f"an alert on a {text} would be raised at once."
        )
    take_base(alert, price)  # or later, if the close before is not settled
