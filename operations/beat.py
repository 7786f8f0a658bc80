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
    """django-celery-beat's scheduler, which goes on when the clock was set back, and without the database.

    By itself it counts from the last run: what ran while the clock was an hour ahead would not be due for an hour, in
    this process and in one that starts later.
    """

    def tick(self, *args: Any, **options: Any) -> Any:
        """Send what is due; the seconds until the next look."""
        latest = _latest()
        if self._schedule and any(entry.model.last_run_at > latest for entry in self._schedule.values()):
            self._initial_read = True  # which has all schedules read again
            self._heap = None  # it has times of the clock as it was
        return super().tick(*args, **options)

    def all_as_schedule(self) -> Any:
        """The enabled schedules by name, after a last run in the future was set to now."""
        try:
            ahead = PeriodicTask.objects.filter(last_run_at__gt=_latest())
            for name, moment in ahead.values_list("name", "last_run_at"):
                logger.warning("%s ran at %s, which is in the future: the clock was set back", name, moment)
            ahead.update(last_run_at=timezone.now())
            return super().all_as_schedule()
        except (DatabaseError, InterfaceError) as error:
            if self._schedule is None:
                raise
            logger.warning("the schedules cannot be read, and stay as they are: %s", str(error).partition("\n")[0])
            return self._schedule


def _latest() -> datetime:
    """The latest moment that is not in the future."""
    return timezone.now() + timedelta(seconds=CLOCK_TOLERANCE)
