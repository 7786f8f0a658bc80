"""Alerts and notices in words, for pages and mails."""

from decimal import Decimal

from django.utils import timezone

from portfolio.price_alerts.models import Kind, PriceAlert, PriceAlertNotice
from portfolio.price_alerts.rules import armed_again_at
from portfolio.templatetags.display import money, rounded_money


def condition(kind: str, threshold: Decimal, currency: str) -> str:
    """`price at or above $200.00`, `change in a day of at least 5 %`."""
    amount = f"{threshold.normalize():f} %" if kind == Kind.MOVED else beside(threshold, threshold, currency)
    return f"{Kind(kind).label} {amount}"


def beside(amount: Decimal, threshold: Decimal, currency: str) -> str:
    """An amount with as many decimals as a threshold has, so that a reader can compare both."""
    exponent = threshold.normalize().as_tuple().exponent
    decimals = -exponent if isinstance(exponent, int) else 0
    return rounded_money(amount, currency, max(decimals, 4 if threshold < 1 else 2))


def price_of(notice: PriceAlertNotice) -> str:
    """The price that raised the alert."""
    if notice.kind == Kind.MOVED:
        return money(notice.price, notice.currency)
    return beside(notice.price, notice.threshold, notice.currency)


def state_of(alert: PriceAlert) -> str:
    """`armed`, or the time of the last raising and the price that arms the alert again."""
    if alert.state == PriceAlert.State.ARMED or alert.raised_at is None or alert.raised_price is None:
        return "armed"
    raised = f"raised on {timezone.localtime(alert.raised_at):%Y-%m-%d at %H:%M}"
    if alert.kind == Kind.MOVED:
        return f"{raised}; armed again in the next session"
    at, again = (beside(one, alert.threshold, alert.currency) for one in (alert.raised_price, armed_again_at(alert)))
    return f"{raised} at {at}; armed again at or {'below' if alert.kind == Kind.ABOVE else 'above'} {again}"


def sentence(notice: PriceAlertNotice) -> str:
    """The fact and the condition: `AAPL is at $201.50 (+2.10 %): price at or above $200.00.`"""
    change = "" if notice.change_percent is None else f" ({notice.change_percent:+.2f} %)"
    met = condition(notice.kind, notice.threshold, notice.currency)
    return f"{notice.stock.symbol} is at {price_of(notice)}{change}: {met}."
