"""Notices of raised alerts: for pages, for the bridge, and old ones for the cleanup."""

from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.utils import timezone

from portfolio.price_alerts.models import PriceAlertNotice

UNSEEN_SHOWN = 50
RECENT_SHOWN = 50
KEPT = timedelta(days=90)


def unseen_notices(user: User) -> list[PriceAlertNotice]:
    """The newest notices that the user has not dismissed, at most UNSEEN_SHOWN + 1, in a single query."""
    return list(_of(user).filter(seen_at=None)[: UNSEEN_SHOWN + 1])


def recent_notices(user: User) -> list[PriceAlertNotice]:
    """The user's newest notices, dismissed or not."""
    return list(_of(user)[:RECENT_SHOWN])


def dismiss(notices: QuerySet[PriceAlertNotice]) -> int:
    """Show notices no more; return how many were shown until now."""
    return notices.filter(seen_at=None).update(seen_at=timezone.now())


def unpublished_notices(count: int) -> QuerySet[PriceAlertNotice]:
    """The oldest notices that are not published yet."""
    return PriceAlertNotice.objects.filter(published_at=None).select_related("stock").order_by("pk")[:count]


def mark_published(notice: PriceAlertNotice) -> None:
    """Record that the MQTT broker has received a notice."""
    PriceAlertNotice.objects.filter(pk=notice.pk, published_at=None).update(published_at=timezone.now())


def old_notices(_before: datetime) -> QuerySet[PriceAlertNotice]:
    """Notices too old to show, independent of the age limit for jobs."""
    return PriceAlertNotice.objects.filter(at__lt=timezone.now() - KEPT)


def _of(user: User) -> QuerySet[PriceAlertNotice]:
    return PriceAlertNotice.objects.filter(user=user).select_related("stock").order_by("-at", "-pk")
