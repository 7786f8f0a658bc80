"""For `-A`: our Celery application, whose beat has a clock that is ahead by the seconds in the file $CLOCK_AHEAD."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from celery.signals import import_modules

from stockqueue.celery import app

__all__ = ["app"]


def now(*_entry: object) -> datetime:
    ahead = int(Path(os.environ["CLOCK_AHEAD"]).read_text())
    return datetime.now(UTC) + timedelta(seconds=ahead)


def set_clock(**_: Any) -> None:
    """Have beat ask `now` for the time, wherever it does."""
    from django.utils import timezone
    from django_celery_beat.schedulers import ModelEntry
    from django_celery_beat.tzcrontab import TzAwareCrontab

    clocks: dict[str, Any] = {"now": timezone, "_default_now": ModelEntry, "nowfunc": TzAwareCrontab}
    for name, clock in clocks.items():
        setattr(clock, name, now)
    app.now = now


import_modules.connect(set_clock)
