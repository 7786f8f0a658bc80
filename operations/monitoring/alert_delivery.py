"""Delivers raised and cleared alerts: by mail, and on MQTT through the bridge."""

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from smtplib import SMTPException

from django.conf import settings
from django.core.mail import send_mail
from django.db import DatabaseError, InterfaceError, connection
from django.db.models import F

from mqtt_bridge.alert_announcements import AlertNews
from mqtt_bridge.announcements import Announcement
from operations.models import Alert
from operations.monitoring.alerts import check

logger = logging.getLogger(__name__)

CHECK = 60.0
"""Seconds between two checks of the bridge."""
State = Alert.State
_TOLD = (State.RAISED, State.CLEARED)


def mail_news() -> int:
    """Mail changed alerts to STOCKQUEUE_ALERT_EMAILS; returns the number of mails. Safe to run twice at once.

    A failed mail is sent again the next time. An alert that was never mailed gets no mail about its end.
    """
    if not settings.ALERT_EMAILS:
        return 0
    news = Alert.objects.filter(state__in=_TOLD).exclude(mailed=F("state")).order_by("since")
    return sum(_mail(alert) for alert in news.exclude(state=State.CLEARED, mailed=""))


def _mail(alert: Alert) -> bool:
    mine = Alert.objects.filter(pk=alert.pk)
    if not mine.filter(state=alert.state, mailed=alert.mailed).update(mailed=alert.state):
        return False
    subject = f"stockqueue: {alert.name} {alert.state}"
    lines = [alert.text, "", f"Since {alert.since:%Y-%m-%d %H:%M:%S} UTC; worst value {alert.worst:g}."]
    if alert.cleared_at:
        lines += [f"Resolved: {alert.cleared_at:%Y-%m-%d %H:%M:%S} UTC, value {alert.value:g}."]
    try:
        send_mail(subject, "\n".join(lines) + "\n", None, settings.ALERT_EMAILS)
    except (OSError, SMTPException) as error:
        logger.error("alert %s: could not send the mail: %s", alert.name, error)
        mine.update(mailed=alert.mailed)
        return False
    return True


class Watch:
    """The bridge's source of changed alerts. Checks alerts itself, because the schedule may be the failed part."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._checked = clock()
        self._thread: threading.Thread | None = None

    def due(self) -> list[Announcement]:
        """The unpublished alerts, ordered by their start."""
        if self._clock() - self._checked >= CHECK:
            self._checked = self._clock()
            self._begin()
        news = Alert.objects.filter(state__in=_TOLD).exclude(published=F("state")).order_by("since")
        return [_announcement(alert) for alert in news]

    def _begin(self) -> None:
        """Check in a separate thread: events must not wait for a mail server."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=_look_after, name="alerts", daemon=True)
            self._thread.start()


def _look_after() -> None:
    try:
        check()
        mail_news()
    except (DatabaseError, InterfaceError) as error:
        logger.warning("could not check alerts: %s", str(error).partition("\n")[0])
    finally:
        connection.close()


def _announcement(alert: Alert) -> Announcement:
    news = AlertNews(
        name=alert.name,
        state=alert.state,
        text=alert.text,
        value=alert.value,
        worst=alert.worst,
        threshold=alert.threshold,
        since=alert.since,
        at=alert.cleared_at or alert.raised_at or alert.since,
    )
    return Announcement(f"{alert.pk} {alert.state}", news.message(), partial(_mark_published, alert.pk, alert.state))


def _mark_published(pk: int, state: str) -> None:
    """Record that the broker has received an alert."""
    Alert.objects.filter(pk=pk).update(published=state)
