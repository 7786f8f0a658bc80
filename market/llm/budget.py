"""The LLM's daily budget of tokens (UTC), for all processes together; the count is in the database.

The most tokens that a question may need are reserved before asking; afterwards the real number replaces the
reservation.
"""

from datetime import date
from typing import NamedTuple

from django.conf import settings
from django.db.models import F
from django.utils import timezone

from market.models import LlmDay


class Reserved(NamedTuple):
    """Reserved tokens, and the day of their budget."""

    day: date
    tokens: int


class BudgetUsedUp(Exception):
    """Too few tokens are left; the message is for the user."""


def reserve(tokens: int) -> Reserved:
    """Reserve tokens. BudgetUsedUp if `integration.apis.openai.daily_tokens` does not allow so many."""
    limit, today = settings.JOB_PROCESSOR.integration.apis.openai.daily_tokens, timezone.now().date()
    LlmDay.objects.bulk_create([LlmDay(day=today)], ignore_conflicts=True)
    # One statement checks and changes: two concurrent questions cannot both get the last tokens.
    enough = LlmDay.objects.filter(day=today, tokens__lte=limit - tokens)
    if not enough.update(tokens=F("tokens") + tokens):
        used = LlmDay.objects.get(day=today).tokens
        raise BudgetUsedUp(
            f"{used} of {limit} tokens of {today} (UTC) are used, and the request may need {tokens} more"
        )
    return Reserved(today, tokens)


def settle(reserved: Reserved, used: int | None, cost: float | None = None) -> None:
    """Replace reserved tokens by the used tokens. None: not known, and all reserved tokens count as used."""
    tokens = reserved.tokens if used is None else used
    LlmDay.objects.filter(day=reserved.day).update(
        tokens=F("tokens") - reserved.tokens + tokens, cost=F("cost") + (cost or 0.0), questions=F("questions") + 1
    )
