from datetime import datetime

from django import template

from stockqueue.wording import describe_moment

register = template.Library()


@register.filter
def moment(value: datetime | None) -> str:
    """A moment with its milliseconds; empty for None."""
    return "" if value is None else describe_moment(value)
