"""What stockqueue's jobs are compared with: Celery and django-celery-results alone, with the same settings."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "stockqueue.settings")

app = Celery("bare")
app.config_from_object("django.conf:settings", namespace="CELERY")


@app.task(name="bare.do_nothing")
def do_nothing() -> dict[str, str]:
    return {}
