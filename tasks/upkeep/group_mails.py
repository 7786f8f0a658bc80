"""Mails about long-running job groups to their users."""

import logging
from collections import Counter
from datetime import timedelta
from smtplib import SMTPException

from django.core.mail import send_mail
from django.db.models import Exists, OuterRef
from django.utils import timezone

from tasks.models import Job, JobGroup

logger = logging.getLogger(__name__)

LONG = timedelta(minutes=5)
"""The shortest duration for a mail. The user of a shorter group has seen its end."""
FAILURES_NAMED = 20


def tell_ended_groups() -> int:
    """Mail the users of long-running groups that have ended. Return how many groups ended. Safe to run twice at once.

    A mail that cannot be sent is tried again at the next call.
    """
    unfinished = Job.objects.active().filter(groups=OuterRef("pk"))
    ended = list(JobGroup.objects.filter(~Exists(unfinished), told_at=None).select_related("user"))
    return sum(_tell(group) for group in ended)


def _tell(group: JobGroup) -> bool:
    """Return whether the group's end was handled here, and not by another process."""
    mine = JobGroup.objects.filter(pk=group.pk)
    if not mine.filter(told_at=None).update(told_at=timezone.now()):
        return False
    jobs = list(group.jobs.order_by("symbol"))
    ends = [job.finished_at for job in jobs if job.finished_at]
    if not ends or max(ends) - group.created_at < LONG or not group.user.email:
        return True
    try:
        send_mail(_subject(group, jobs), _text(group, jobs), None, [group.user.email])
    except (OSError, SMTPException) as error:
        logger.error("job group %s: could not mail user %s: %s", group.pk, group.user_id, error)
        mine.update(told_at=None)
        return False
    return True


def _subject(group: JobGroup, jobs: list[Job]) -> str:
    failed = len(_failed(jobs))
    how = "done" if not failed else "failed" if failed == len(jobs) else f"done, {failed} failed"
    return f"{group.what}: {how}"


def _text(group: JobGroup, jobs: list[Job]) -> str:
    counts = Counter(job.outcome or job.status for job in jobs)
    stored = [result["records_stored"] for job in jobs if "records_stored" in (result := job.result or {})]
    bars = f" Bars written: {sum(stored)}." if stored else ""
    failed = _failed(jobs)
    lines = [
        f"Requested on {group.created_at:%Y-%m-%d at %H:%M} UTC.",
        f"Jobs: {', '.join(f'{count} {what}' for what, count in sorted(counts.items()))}.{bars}",
    ]
    lines += [f"{_name(job)} {job.status}: {job.error}" for job in failed[:FAILURES_NAMED]]
    if len(failed) > FAILURES_NAMED:
        lines.append(f"and {len(failed) - FAILURES_NAMED} more")
    return "\n".join(lines) + "\n"


def _name(job: Job) -> str:
    """`AAPL`, or `AAPL, sentiment`: a stock may have an analysis of each kind."""
    return f"{job.subject}, {job.subtype}" if "analysis_types" in job.parameters else job.subject


def _failed(jobs: list[Job]) -> list[Job]:
    return [job for job in jobs if job.status != Job.Status.COMPLETED]
