"""For `-A`: our Celery application, whose beat reads all schedules again each second instead of every five minutes."""

from typing import Any

from celery.signals import import_modules

from stockqueue.celery import app

__all__ = ["app"]


def read_often(**_: Any) -> None:
    from django_celery_beat import schedulers

    schedulers.SCHEDULE_SYNC_MAX_INTERVAL = 1


import_modules.connect(read_often)
