"""Price alerts on pages."""

from django import template
from django.contrib.auth.models import User

from portfolio.models import PriceAlert, PriceAlertNotice
from portfolio.price_alerts import notices, texts

register = template.Library()


@register.simple_tag
def unseen_notices(user: User) -> list[PriceAlertNotice]:
    """The user's notices to show, in a single query."""
    return notices.unseen_notices(user)


@register.filter
def count(shown: list[PriceAlertNotice]) -> str:
    """`3`, or `50+` for more notices than are read."""
    return f"{notices.UNSEEN_SHOWN}+" if len(shown) > notices.UNSEEN_SHOWN else str(len(shown))


@register.filter
def condition(alert: PriceAlert | PriceAlertNotice) -> str:
    return texts.condition(alert.kind, alert.threshold, alert.currency)


@register.filter
def state_text(alert: PriceAlert) -> str:
    return texts.state_of(alert)


@register.filter
def notice_price(notice: PriceAlertNotice) -> str:
    return texts.price_of(notice)


@register.filter
def sentence(notice: PriceAlertNotice) -> str:
    return texts.sentence(notice)
