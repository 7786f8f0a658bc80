"""Rows about logins and sessions that are old enough to delete."""

from datetime import datetime, timedelta

from django.contrib.sessions.models import Session
from django.db.models import QuerySet
from django.utils import timezone

from portfolio.models import Login

KEPT = timedelta(days=8)


def old_logins(_before: datetime) -> QuerySet[Login]:
    """Logins too old for any figure, independent of the age limit for jobs."""
    return Login.objects.filter(at__lt=timezone.now() - KEPT)


def expired_sessions(_before: datetime) -> QuerySet[Session]:
    """Sessions that nobody can use any more."""
    return Session.objects.filter(expire_date__lt=timezone.now())
