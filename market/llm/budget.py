"""How many tokens the LLM may use on a day (UTC), by all processes together; the count is in the database.

What a question may need at most is set aside before it is asked, and what it did need is written in its place.
"""

from datetime import date
from typing import NamedTuple

from django.conf import settings
from django.db.models import F
from django.utils import timezone

from market.models import LlmDay


class Reserved(NamedTuple):
    """Tokens that are set aside, and the day that they count for."""

    day: date
    tokens: int


class BudgetUsedUp(Exception):
    """There are not so many tokens left; the message is for the user."""


def reserve(tokens: int) -> Reserved:
    """Set tokens aside. BudgetUsedUp where `integration.apis.openai.daily_tokens` does not allow it."""
    limit, today = settings.JOB_PROCESSOR.integration.apis.openai.daily_tokens, timezone.now().date()
    LlmDay.objects.bulk_create([LlmDay(day=today)], ignore_conflicts=True)
    # The condition and the change are one statement: two who ask at once cannot both get the last tokens.
    enough = LlmDay.objects.filter(day=today, tokens__lte=limit - tokens)
    if not enough.update(tokens=F("tokens") + tokens):
        used = LlmDay.objects.get(day=today).tokens
        raise BudgetUsedUp(f"{used} of {limit} tokens of {today} (UTC) are used, and it may take {tokens} more")
    return Reserved(today, tokens)


def settle(reserved: Reserved, used: int | None, cost: float | None = None) -> None:
    """Count what was used in place of what was set aside. None: that is not known, and all of it counts as used."""
    tokens = reserved.tokens if used is None else used
    LlmDay.objects.filter(day=reserved.day).update(
        tokens=F("tokens") - reserved.tokens + tokens, cost=F("cost") + (cost or 0.0), questions=F("questions") + 1
    )
