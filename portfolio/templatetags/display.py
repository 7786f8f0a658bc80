"""Formats of amounts and times on pages."""

from datetime import date, datetime, timedelta
from decimal import Decimal

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import mark_safe
from django.utils.timesince import timesince

register = template.Library()

_SIGNS = {"USD": "$", "EUR": "€", "GBP": "£"}


@register.filter
def money(amount: Decimal, currency: str) -> str:
    """`$1,234.50`, `1,234.50 SEK`; an amount below 1 with four decimals, or with four significant digits."""
    number = _plain(abs(amount))
    minus, sign = "-" if amount < 0 else "", _SIGNS.get(currency)
    return f"{minus}{sign}{number}" if sign else f"{minus}{number} {currency}".strip()


@register.filter
def in_currency(amount: float, currency: str) -> str:
    """`money` of a number with a fraction."""
    return money(Decimal(repr(amount)), currency)


def rounded_money(amount: Decimal, currency: str, places: int) -> str:
    """`$1,234.5678`: as `money`, with this number of decimals."""
    minus, sign = "-" if amount < 0 else "", _SIGNS.get(currency)
    number = f"{abs(amount):,.{places}f}"
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
def percent_1(part: float) -> str:
    """`35.2 %` of 0.352."""
    return f"{part:.1%}".replace("%", "\xa0%")


@register.filter
def width(part: float) -> str:
    """`35.2` of 0.352, for a picture that is 100 wide."""
    return f"{100 * part:.1f}"


@register.filter
def change(part: Decimal | float) -> str:
    """`+3.25 %` of 0.0325."""
    return f"{part:+.2%}".replace("%", "\xa0%")


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


@register.simple_tag(takes_context=True)
def sortable(context: template.Context, name: str, label: str) -> str:
    """The heading of a column that a click sorts by; the largest is first, except among names."""
    chosen = context.get("sort") == name
    order = ("ascending" if name == "stock" else "descending") if chosen else ""
    return format_html(
        '<th scope="col"{}{}><a href="?sort={}">{}</a></th>',
        "" if name == "stock" else mark_safe(' class="number"'),
        format_html(' aria-sort="{}"', order) if order else "",
        name,
        label,
    )


@register.filter
def iso(day: date) -> str:
    """A day or a moment for machines, in a third of the time of Django's `date`."""
    return day.isoformat()


@register.filter
def moment(value: datetime) -> str:
    """`2026-11-29 09:16:05 UTC`, in the owner's time zone."""
    return f"{timezone.localtime(value):%Y-%m-%d %H:%M:%S %Z}"


@register.filter
def ago(value: datetime) -> str:
    """`just now`, `5 minutes ago`."""
    if timezone.now() - value < timedelta(minutes=1):
        return "just now"
    return f"{timesince(value)} ago"
