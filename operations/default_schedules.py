"""The schedules of a new database. From then on the schedules are rows, edited in the admin."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.apps import apps as installed_apps
from django.apps.registry import Apps
from django.conf import settings


@dataclass(frozen=True)
class DefaultSchedule:
    """When beat sends `task`: at every `interval`, or at the `crontab`'s times in TIME_ZONE.

    A message that no worker takes within `expires` is dropped.
    """

    name: str
    task: str
    expires: timedelta
    description: str
    interval: timedelta | None = None
    crontab: dict[str, str] | None = None


DEFAULTS = [
    DefaultSchedule(
        name="Sweep",
        task="stockqueue.sweep",
        interval=timedelta(seconds=10),
        expires=timedelta(seconds=10),
        description="Rescue lost jobs, resend refused jobs, and expire jobs that waited too long.",
    ),
    DefaultSchedule(
        name="Scheduled portfolio update",
        task="stockqueue.scheduled_portfolio_update",
        crontab={"minute": "0", "hour": "9", "day_of_week": "1-5"},
        # Longer than Redis keeps a killed worker's message (an hour) before another worker gets it.
        expires=timedelta(hours=12),
        description="Enqueue fetches of every stale stock that an active user holds.",
    ),
    DefaultSchedule(
        name="Warm",
        task="stockqueue.warm",
        interval=timedelta(minutes=1),
        expires=timedelta(minutes=1),
        description="Enqueue fetches of held and watched stocks shortly before their data is stale.",
    ),
    DefaultSchedule(
        name="Settle",
        task="stockqueue.settle",
        interval=timedelta(minutes=10),
        expires=timedelta(minutes=10),
        description="Enqueue charts of held and watched stocks once a week, and after sessions with a gap or a split.",
    ),
    DefaultSchedule(
        name="Market data",
        task="stockqueue.market_data",
        interval=timedelta(minutes=10),
        expires=timedelta(minutes=10),
        description="Enqueue fetches of the stale stocks of market.watchlist.",
    ),
    DefaultSchedule(
        name="Mails about ends",
        task="stockqueue.tell_ended_groups",
        interval=timedelta(minutes=1),
        expires=timedelta(minutes=1),
        description="Mail users whose long-running requests have ended.",
    ),
    DefaultSchedule(
        name="Mails to users",
        task="stockqueue.send_mails",
        interval=timedelta(minutes=1),
        expires=timedelta(minutes=1),
        description="Send mails that could not be sent at once.",
    ),
    DefaultSchedule(
        name="Portfolio values",
        task="stockqueue.value_portfolios",
        interval=timedelta(hours=1),
        expires=timedelta(hours=1),
        description="Rank the portfolios by value; the rank is a factor of the priority of the owner's jobs.",
    ),
    DefaultSchedule(
        name="Alerts",
        task="stockqueue.check_alerts",
        interval=timedelta(seconds=30),
        expires=timedelta(seconds=30),
        description="Raise and clear alerts. The MQTT bridge also does this once a minute.",
    ),
    DefaultSchedule(
        name="Cleanup",
        task="stockqueue.cleanup",
        crontab={"minute": "30", "hour": "3"},
        expires=timedelta(hours=12),
        description="Delete jobs that ended more than jobs.cleanup_after_days ago, with their dependent rows.",
    ),
]


def add_missing_schedules(using: str, apps: Apps = installed_apps, **_more: Any) -> None:
    """After `migrate` and `flush`: add each default task without a schedule. Existing rows stay unchanged.

    Not by CELERY_BEAT_SCHEDULE: at every start, beat would overwrite the admin's edits.
    """
    try:
        schedules = apps.get_model("django_celery_beat", "PeriodicTask").objects.using(using)
        intervals = apps.get_model("django_celery_beat", "IntervalSchedule").objects.using(using)
        crontabs = apps.get_model("django_celery_beat", "CrontabSchedule").objects.using(using)
    except LookupError:  # its migrations are not applied
        return
    for default in DEFAULTS:
        if schedules.filter(task=default.task).exists():
            continue
        row = schedules.model(
            name=default.name,
            task=default.task,
            expire_seconds=int(default.expires.total_seconds()),
            description=default.description,
        )
        # Separate rows: schedules that share a row would change together.
        if default.interval:
            row.interval = intervals.create(every=int(default.interval.total_seconds()), period="seconds")
        if default.crontab:
            row.crontab = crontabs.create(timezone=settings.TIME_ZONE, **default.crontab)
        row.save(using=using)
