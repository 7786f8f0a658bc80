"""Mails about work that took long to those who asked for it."""

import logging
from collections import Counter
from datetime import timedelta
from smtplib import SMTPException

from django.core.mail import send_mail
from django.db.models import Exists, OuterRef
from django.utils import timezone

from tasks.models import Backfill, Job

logger = logging.getLogger(__name__)

LONG = timedelta(minutes=5)
"""A backfill that took less needs no mail: who asked has seen its end."""
FAILURES_NAMED = 20


def tell_ended_backfills() -> int:
    """Mail the users whose long backfills have ended; how many backfills had. Safe to run twice at once.

    A mail that cannot be sent is tried again the next time.
    """
    unfinished = Job.objects.active().filter(backfills=OuterRef("pk"))
    ended = list(Backfill.objects.filter(~Exists(unfinished), told_at=None).select_related("user"))
    return sum(_tell(backfill) for backfill in ended)


def _tell(backfill: Backfill) -> bool:
    """Whether it was ours to tell."""
    mine = Backfill.objects.filter(pk=backfill.pk)
    if not mine.filter(told_at=None).update(told_at=timezone.now()):
        return False
    jobs = list(backfill.jobs.order_by("symbol"))
    ends = [job.finished_at for job in jobs if job.finished_at]
    if not ends or max(ends) - backfill.created_at < LONG or not backfill.user.email:
        return True
    try:
        send_mail(_subject(backfill, jobs), _text(backfill, jobs), None, [backfill.user.email])
    except (OSError, SMTPException) as error:
        logger.error("backfill %s: no mail to user %s: %s", backfill.pk, backfill.user_id, error)
        mine.update(told_at=None)
        return False
    return True


def _subject(backfill: Backfill, jobs: list[Job]) -> str:
    stocks = jobs[0].symbol if len(jobs) == 1 else f"{len(jobs)} stocks"
    failed = len(_failed(jobs))
    how = "is done" if not failed else "failed" if failed == len(jobs) else f"is done, {failed} failed"
    return f"The backfill of {stocks}, {backfill.start} to {backfill.end}, {how}"


def _text(backfill: Backfill, jobs: list[Job]) -> str:
    counts = Counter(job.outcome or job.status for job in jobs)
    bars = sum((job.result or {}).get("records_stored", 0) for job in jobs)
    failed = _failed(jobs)
    lines = [
        f"Asked for on {backfill.created_at:%Y-%m-%d at %H:%M} UTC, mode {backfill.mode}.",
        f"Jobs: {', '.join(f'{count} {what}' for what, count in sorted(counts.items()))}. Bars written: {bars}.",
    ]
    lines += [f"{job.symbol} {job.status}: {job.error}" for job in failed[:FAILURES_NAMED]]
    if len(failed) > FAILURES_NAMED:
        lines.append(f"and {len(failed) - FAILURES_NAMED} more")
    return "\n".join(lines) + "\n"


def _failed(jobs: list[Job]) -> list[Job]:
    return [job for job in jobs if job.status != Job.Status.COMPLETED]
