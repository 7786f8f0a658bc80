"""The outbox of mails to users: a mail is stored with the caller's changes, and sent outside the request.

A sent mail is deleted at once, because its text is private. No text and no subject is logged. Links with secrets are
written when a mail is sent, and never stored (`accounts.letters`).
"""

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from smtplib import SMTPDataError, SMTPRecipientsRefused

from django.contrib.auth.models import User
from django.core.mail import EmailMessage, get_connection
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from portfolio.accounts import letters
from portfolio.models import OutgoingMail
from tasks.delivery import light_tasks
from tasks.models import Job
from tasks.priority import BANDS

logger = logging.getLogger(__name__)

TASK = "stockqueue.send_mails"
QUEUE = Job.Queue.BACKGROUND_FETCH
"""A mail server that hangs must not keep the workers of `foreground` from users who wait for prices."""
PAUSES = [timedelta(minutes=minutes) for minutes in (2, 5, 15, 60, 240)]
"""The time before each next attempt. The first pause is longer than an attempt takes, so no two attempts overlap."""
KEPT = timedelta(days=1)
"""The cleanup deletes older mails. They are left only if nothing has sent mails for that long."""
EXPIRES = 60.0
"""Seconds that the message to a worker is valid. Afterwards the schedule sends the mail."""
MAILS_PER_RUN = 50
LONGEST_SUBJECT = 200
_ABOUT_A_MAIL = (SMTPRecipientsRefused, SMTPDataError, ValueError)
"""Errors that say nothing about other mails. ValueError: an address that no mail can have."""


def queue_mail(to: Sequence[str], subject: str, body: str) -> None:
    """Store a mail to each address in the caller's transaction. It is sent soon after the commit, or not at all.

    An address does not see the others. The caller is neither delayed nor failed by a mail server or broker.
    """
    queue_mails((address, subject, body) for address in to)


def queue_mails(mails: Iterable[tuple[str, str, str]]) -> None:
    """The same for mails with an address, a subject and a body each. A single message makes a worker send all."""
    OutgoingMail.objects.bulk_create(
        # A line break could add headers.
        OutgoingMail(to=address, subject=" ".join(subject.split())[:LONGEST_SUBJECT], body=body)
        for address, subject, body in mails
    )
    transaction.on_commit(hand_over, robust=True)


def queue_letter(letter: OutgoingMail.Letter, to: str, site: str, user: User | None = None) -> None:
    """The same for a mail that `accounts.letters` writes when it is sent. `site`: where its links lead."""
    OutgoingMail.objects.create(letter=letter, to=to, site=site, user=user)
    transaction.on_commit(hand_over, robust=True)


def hand_over() -> bool:
    """Let a worker, or else this process, send the due mails. If neither can, the schedule sends the mails."""
    return light_tasks.hand_over(TASK, send_mails, queue=QUEUE, priority=BANDS[QUEUE][0], expires=EXPIRES)


def hand_over_due() -> None:
    """The same, if a mail is due. Direct processing has no schedules, and calls this function in each sweep."""
    if _due().exists():
        hand_over()


def send_mails() -> int:
    """Send the due mails; return how many were sent. Safe to run twice at once.

    A failure that is not about a single mail ends the run: other mails would wait for an unavailable server, too.
    """
    try:
        return _send_due()
    except (InterfaceError, OperationalError) as error:
        logger.warning("could not read the outbox of mails: %s", str(error).partition("\n")[0])
        connection.close()
        return 0


def old_mails(_before: datetime) -> QuerySet[OutgoingMail]:
    """Mails that nothing has sent for long, independent of the age limit for jobs."""
    return OutgoingMail.objects.filter(created_at__lt=timezone.now() - KEPT)


def _due() -> QuerySet[OutgoingMail]:
    return OutgoingMail.objects.filter(next_at__lte=timezone.now()).order_by("next_at", "pk")


def _send_due() -> int:
    sent = 0
    for mail in _due().select_related("user")[:MAILS_PER_RUN]:
        if not _claim(mail):
            continue
        try:
            get_connection().send_messages(_messages(mail))
        except (OSError, ValueError) as error:
            _note_failure(mail, error)
            if not isinstance(error, _ABOUT_A_MAIL):
                break
        else:
            mail.delete()
            sent += 1
    return sent


def _messages(mail: OutgoingMail) -> list[EmailMessage]:
    return [EmailMessage(text.subject, text.body, None, [text.to]) for text in letters.write(mail)]


def _claim(mail: OutgoingMail) -> bool:
    """Reserve the next attempt for this process. Return False if another process has it."""
    pause = PAUSES[min(mail.attempts, len(PAUSES) - 1)]
    mine = OutgoingMail.objects.filter(pk=mail.pk, attempts=mail.attempts)
    return mine.update(attempts=mail.attempts + 1, next_at=timezone.now() + pause) == 1


def _note_failure(mail: OutgoingMail, error: Exception) -> None:
    """Log the failure of a claimed mail. The last failure deletes the mail."""
    attempt, attempts = mail.attempts + 1, len(PAUSES) + 1
    logger.error("mail %s: attempt %d of %d failed: %s", mail.pk, attempt, attempts, _describe(error))
    if attempt == attempts:
        logger.error("mail %s was given up", mail.pk)
        mail.delete()


def _describe(error: Exception) -> str:
    """The error without the recipient."""
    if isinstance(error, SMTPRecipientsRefused):
        codes = ", ".join(str(code) for code, _ in error.recipients.values())
        return f"the mail server refused the recipient ({codes})"
    return str(error) if isinstance(error, OSError) else type(error).__name__
