"""The Celery application: `celery -A stockqueue worker -Q foreground`."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "stockqueue.settings")

app = Celery("stockqueue")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(related_name="celery_tasks")
app.steps["consumer"].update(("tasks.steps:PrefetchOfEachQueue", "tasks.steps:ForgetCancelledTimers"))
