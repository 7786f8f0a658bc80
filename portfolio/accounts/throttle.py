"""Limits of requests that anybody can send: so many in an hour, for all web processes together.

Rows keep no address or name, and are deleted after the hour.
"""

from datetime import timedelta
from math import ceil
from typing import NamedTuple

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.crypto import salted_hmac

from portfolio.models import Attempt

WINDOW = timedelta(hours=1)


class Limit(NamedTuple):
    """At most `most` requests in an hour, for each key."""

    name: str
    most: int


SIGN_UP_FORMS = Limit("forms for a sign-up, by client", 20)
SIGN_UP_MAILS = Limit("sign-ups, by address of mail", 3)
SIGN_UPS = Limit("sign-ups", 200)
RESET_FORMS = Limit("password resets, by client", 20)
RESET_MAILS = Limit("password resets, by address of mail", 3)
RESETS = Limit("password resets", 500)
ADDRESS_MAILS = Limit("changed addresses, by user", 5)
PASSWORDS = Limit("passwords asked again, by user", 10)


def take(*limits: tuple[Limit, object]) -> timedelta | None:
    """Count a request by each limit and its key. Return the wait until the next request if a limit refuses.

    Refused requests do not count, so the wait ends whatever is sent in it. A limit whose key is None does not apply.
    """
    now = timezone.now()
    Attempt.objects.filter(at__lte=now - WINDOW).delete()
    for limit, key in limits:
        if key is not None and (wait := _take(limit, str(key))) is not None:
            return wait
    return None


def _take(limit: Limit, key: str) -> timedelta | None:
    # Stored before the count: of two requests at once, each counts the other.
    mine = Attempt.objects.create(digest=_digest(limit, key), at=timezone.now())
    others = Attempt.objects.filter(digest=mine.digest).exclude(pk=mine.pk).order_by("-at")
    last = others[limit.most - 1 : limit.most].first()
    if last is None:
        return None
    mine.delete()
    return max(last.at + WINDOW - mine.at, timedelta(seconds=1))


def _digest(limit: Limit, key: str) -> str:
    return salted_hmac(f"{__name__}.{limit.name}", key, algorithm="sha256").hexdigest()


def describe(wait: timedelta) -> str:
    """`Too many requests. Try again in 5 minutes.`"""
    minutes = ceil(wait.total_seconds() / 60)
    return f"Too many requests. Try again in {minutes} minute{'' if minutes == 1 else 's'}."


def refuse(request: HttpRequest, template: str, context: dict[str, object], wait: timedelta) -> HttpResponse:
    """The page of a form again, with its input and the wait as `refused`; status 429."""
    response = render(request, template, {**context, "refused": describe(wait)}, status=429)
    response["Retry-After"] = str(ceil(wait.total_seconds()))
    return response
