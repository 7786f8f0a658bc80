"""The Celery application: `celery -A stockqueue worker -Q foreground`."""

import os
from typing import Any

from celery import Celery
from celery.signals import beat_init, celeryd_init, setup_logging

from stockqueue.logs import say_at_least

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "stockqueue.settings")

app = Celery("stockqueue")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(related_name="celery_tasks")
app.steps["consumer"].update(
    f"tasks.celery_worker.bootsteps:{name}" for name in ("PrefetchOfEachQueue", "ForgetCancelledTimers")
)


@celeryd_init.connect
@beat_init.connect
def refuse_unsafe_start(**_: Any) -> None:
    """End the program by SystemExit, the only exception of a receiver that Celery passes on."""
    from stockqueue.demo_users import refuse_demo_users  # needs the settings, which are not loaded before

    refuse_demo_users()


@setup_logging.connect
def keep_our_logging(loglevel: int, **_: Any) -> None:
    """Keep Celery from replacing our log handlers. `--loglevel` can only raise the verbosity."""
    say_at_least(loglevel)
