"""Runs scheduled work once per slot, however often beat sends it. A slot is a moment at which a schedule is due."""

import logging
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta

from celery.app.task import Context
from django.db import transaction
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from django_celery_beat.tzcrontab import TzAwareCrontab

from tasks.models import ScheduleRun

logger = logging.getLogger(__name__)

CLOCK_SKEW = timedelta(seconds=2)
"""The tolerated lag of the worker's clock behind beat's: without it, a message could precede its own slot."""

SET_BACK = timedelta(minutes=1)
"""A run further in the future was recorded before the clock was set back. Its slot is free again."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST_GAP = timedelta(days=366 * 41)  # a 29th of February on one day of the week, around 2100


def run_once_a_slot(request: Context, work: Callable[[], object]) -> str:
    """Do `work` unless another message has done the work of this slot. Return the result as text.

    The slot is used up in the transaction of `work`. If `work` fails, or its process dies, the next message does the
    work. So `work` should be short, and write to the database only. Messages not sent by beat (the admin's "Run
    selected tasks", a shell) have no slot: they always do the work.
    """
    headers = request.headers or {}
    name = headers.get("periodic_task_name")
    # The admin also sends the name with its messages; only beat sends this header.
    if name is None or not headers.get("celery_beat_task"):
        with transaction.atomic():
            return str(work())
    schedule = PeriodicTask.objects.filter(name=name).select_related("crontab", "interval").first()
    if schedule is None:
        return _leave(f"skipped: the schedule {name!r} no longer exists")
    now = timezone.now()
    slot = slot_at(schedule, now + CLOCK_SKEW)
    with transaction.atomic():
        ScheduleRun.objects.filter(schedule=name, slot=slot, ran_at__gt=now + SET_BACK).delete()
        _, is_free = ScheduleRun.objects.get_or_create(schedule=name, slot=slot)
        if not is_free:
            return _leave(f"skipped: the slot {slot.isoformat()} of {name!r} has already run")
        return str(work())


def slot_at(schedule: PeriodicTask, now: datetime) -> datetime:
    """The latest moment up to `now` at which the schedule was due, in UTC.

    An interval is due at its multiples since 1970, whatever beat counts from. For a crontab, each local time in its
    time zone counts once. If clocks go back, the first occurrence counts. A local time skipped by the clocks counts at
    the moment it would have had without the skip. Beat sends at the same moments.
    """
    if schedule.interval:
        every: timedelta = schedule.interval.schedule.run_every
        return _EPOCH + (now - _EPOCH) // every * every
    due = _latest_due(schedule.crontab.schedule, now) if schedule.crontab else None
    if due is None:
        raise ValueError(f"schedule {schedule.name!r}: only intervals, and crontabs that are ever due, have slots")
    return due


def _latest_due(cron: TzAwareCrontab, now: datetime) -> datetime | None:
    today = now.astimezone(cron.tz).date()
    for back in range(_LONGEST_GAP.days):
        day = today - timedelta(days=back)
        if not _is_due_on(cron, day):
            continue
        moments = (
            datetime.combine(day, time(hour, minute), cron.tz).astimezone(UTC)
            for hour in cron.hour
            for minute in cron.minute
        )
        # Not the latest local time: a skipped 02:30 is later than the 03:00 after the skip.
        if due := max((moment for moment in moments if moment <= now), default=None):
            return due
    return None


def _is_due_on(cron: TzAwareCrontab, day: date) -> bool:
    return (
        day.month in cron.month_of_year
        and day.day in cron.day_of_month
        and day.isoweekday() % 7 in cron.day_of_week  # Sunday is 0
    )


def _leave(why: str) -> str:
    logger.info(why)
    return why
