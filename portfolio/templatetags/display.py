"""Formats of amounts and times on pages."""

from datetime import datetime, timedelta
from decimal import Decimal

from django import template
from django.utils import timezone
from django.utils.timesince import timesince

register = template.Library()

_SIGNS = {"USD": "$", "EUR": "€", "GBP": "£"}


@register.filter
def money(amount: Decimal, currency: str) -> str:
    """`$1,234.50`, `1,234.50 SEK`; an amount below 1 with four decimals, or with four significant digits."""
    number = _plain(abs(amount))
    minus, sign = "-" if amount < 0 else "", _SIGNS.get(currency)
    return f"{minus}{sign}{number}" if sign else f"{minus}{number} {currency}".strip()


def _plain(amount: Decimal) -> str:
    if not 0 < amount < 1:
        return f"{amount:,.2f}"
    digits = f"{amount:.{3 - amount.adjusted()}f}".rstrip("0")
    return digits if len(digits) > len("0.0000") else f"{amount:.4f}"


@register.filter
def gain(amount: Decimal | float) -> str:
    """`+12.00` or `-3.40`."""
    return f"{amount:+,.2f}"


@register.filter
def percent(part: float) -> str:
    """`35 %` of 0.35."""
    return f"{part:.0%}".replace("%", "\xa0%")


@register.filter
def words(name: str) -> str:
    """`sma 20` for `sma_20`."""
    return name.replace("_", " ")


@register.filter
def direction(amount: Decimal | float | None) -> str:
    """The style class of a gain."""
    if not amount:
        return ""
    return "up" if amount > 0 else "down"


@register.filter
def shares(count: Decimal) -> str:
    """`10`, `0.5`: no zeros at the end."""
    return f"{count.normalize():,f}"


@register.filter
def ago(moment: datetime) -> str:
    """`just now`, `5 minutes ago`."""
    if timezone.now() - moment < timedelta(minutes=1):
        return "just now"
    return f"{timesince(moment)} ago"
