"""Beat's scheduler (the setting `beat_scheduler`)."""

import logging
from datetime import datetime, timedelta
from typing import Any

from django.db import DatabaseError, InterfaceError
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from django_celery_beat.schedulers import DatabaseScheduler

from tasks.upkeep.sweeper import CLOCK_TOLERANCE

logger = logging.getLogger(__name__)


class Scheduler(DatabaseScheduler):
    """django-celery-beat's scheduler, made to survive a clock set back, and a database that does not answer.

    The original counts from the last run: a schedule that ran with the clock an hour ahead would not be due for an
    hour, even after a restart.
    """

    def tick(self, *args: Any, **options: Any) -> Any:
        """Send due tasks; returns the seconds until the next check."""
        latest = _latest()
        if self._schedule and any(entry.model.last_run_at > latest for entry in self._schedule.values()):
            self._initial_read = True  # makes the parent read all schedules again
            self._heap = None  # holds times of the old clock
        return super().tick(*args, **options)

    def all_as_schedule(self) -> Any:
        """The enabled schedules by name, after setting any last run in the future to now."""
        try:
            ahead = PeriodicTask.objects.filter(last_run_at__gt=_latest())
            for name, moment in ahead.values_list("name", "last_run_at"):
                logger.warning("%s ran at %s, which is in the future: the clock was set back", name, moment)
            ahead.update(last_run_at=timezone.now())
            return super().all_as_schedule()
        except (DatabaseError, InterfaceError) as error:
            if self._schedule is None:
                raise
            logger.warning(
                "could not read the schedules; the last known schedules stay in effect: %s",
                str(error).partition("\n")[0],
            )
            return self._schedule


def _latest() -> datetime:
    """The latest moment that does not count as future."""
    return timezone.now() + timedelta(seconds=CLOCK_TOLERANCE)
