"""Mails about raised alerts. All alerts raised since a user's last mail are in the next mail."""

from collections.abc import Sequence
from itertools import groupby

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from portfolio.mails import queue_mails
from portfolio.models import Preferences
from portfolio.price_alerts.models import PriceAlertNotice
from portfolio.price_alerts.texts import sentence

NOTICES_PER_RUN = 200
LINES = 50
"""Alerts named in a mail; the rest is counted."""


def mail_notices() -> int:
    """Queue the mails about new notices; return how many. A chore of the sweeper, safe to run twice at once.

    A user without an address, who is not active, or who takes no mails about alerts, gets none.
    """
    if not PriceAlertNotice.objects.filter(needs_mail=True).exists():
        return 0
    with transaction.atomic():
        notices = _take()
        groups = [(user, list(own)) for user, own in groupby(notices, lambda notice: notice.user)]
        wanted = [(user, own) for user, own in groups if _takes_mails(user)]
        if wanted:
            queue_mails((user.email, _subject(own), _text(own)) for user, own in wanted)
        mailed = [notice.pk for _, own in wanted for notice in own]
        PriceAlertNotice.objects.filter(pk__in=[notice.pk for notice in notices]).update(needs_mail=False)
        PriceAlertNotice.objects.filter(pk__in=mailed).update(mailed_at=timezone.now())
    return len(wanted)


def _take() -> list[PriceAlertNotice]:
    """The notices to mail, by user and time. Another sweeper skips them."""
    due = PriceAlertNotice.objects.select_for_update(of=("self",), skip_locked=True).filter(needs_mail=True)
    return list(due.select_related("user__preferences", "stock").order_by("user", "at", "pk")[:NOTICES_PER_RUN])


def _takes_mails(user: User) -> bool:
    return user.is_active and bool(user.email) and Preferences.of(user).mails_alerts


def _subject(notices: Sequence[PriceAlertNotice]) -> str:
    symbols = list(dict.fromkeys(notice.stock.symbol for notice in notices))
    named = ", ".join(symbols[:5]) + (f" and {len(symbols) - 5} more" if len(symbols) > 5 else "")
    return f"stockqueue: price alert{'' if len(notices) == 1 else 's'} for {named}"


def _text(notices: Sequence[PriceAlertNotice]) -> str:
    lines = [f"{sentence(notice)} ({notice.at:%Y-%m-%d %H:%M} UTC)" for notice in notices[:LINES]]
    if len(notices) > LINES:
        lines.append(f"and {len(notices) - LINES} more")
    return "\n".join([*lines, "", "The page “Alerts” lists your alerts. Your preferences turn these mails off.", ""])
