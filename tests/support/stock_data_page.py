"""These functions make what the admin's page "Stock data" shows, and ask the database for it in other words."""

from datetime import timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from operations.models import Alert
from tasks.models import Job, JobRequest

PAGE = "/admin/operations/stockdata/"
FIGURES = "/admin/operations/stockdata/figures/"


def sql(query: str, *parameters: Any) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        return cursor.fetchone()[0]


def ago(**time: float) -> Any:
    return timezone.now() - timedelta(**time)


def logged_in(user: Any, job: Job, before: float) -> JobRequest:
    """The user's login, so many seconds before the job's end."""
    moment = (job.finished_at or timezone.now()) - timedelta(seconds=before)
    return JobRequest.objects.create(job=job, user=user, trigger="user_login", created_at=moment)


def alert(name: str, state: str, **fields: Any) -> Alert:
    known = {"value": 9, "worst": 9, "threshold": 5, "text": f"{name} is out of bounds."}
    return Alert.objects.create(name=name, state=state, **(known | fields))
