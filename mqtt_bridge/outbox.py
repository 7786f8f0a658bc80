"""The events that wait for the MQTT broker: which they are, and what became of them."""

from collections.abc import Collection, Mapping

from django.db import connection
from django.db.models import Prefetch, QuerySet
from django.utils import timezone

from mqtt_bridge.wakeup import CHANNEL
from tasks.models import UNPUBLISHED, Job, JobEvent, JobRequest


def waiting(limit: int) -> list[JobEvent]:
    """The oldest events that wait, each with its job and the job's requesters by login.

    Never "everything after the last one": ids commit out of order, and a late one would be passed over.
    """
    oldest = JobEvent.objects.filter(UNPUBLISHED).order_by("id")
    return list(with_logins(oldest)[:limit])


def with_logins(events: "QuerySet[JobEvent]") -> "QuerySet[JobEvent]":
    """Each with its job, and with what `login_users` looks at."""
    logins = JobRequest.objects.filter(trigger=Job.Trigger.USER_LOGIN).exclude(user=None)
    return events.select_related("job").prefetch_related(Prefetch("job__requests", logins, "login_requests"))


def login_users(event: JobEvent) -> list[int]:
    """Who asked for the job by logging in, each once, for an event that came `with_logins`."""
    return list(dict.fromkeys(request.user_id for request in event.job.login_requests))  # type: ignore[attr-defined]


def mark_published(event_ids: Collection[int]) -> None:
    """The broker has acknowledged all messages of these."""
    if event_ids:
        JobEvent.objects.filter(pk__in=event_ids).update(published_at=timezone.now())


def set_aside(errors: Mapping[int, str]) -> None:
    """These cannot be published; why is kept with each, until someone has them sent again."""
    JobEvent.objects.bulk_update([JobEvent(pk=pk, error=error) for pk, error in errors.items()], ["error"])


def send_again(events: "QuerySet[JobEvent]") -> int:
    """Put events back into the outbox; how many. Those that were published arrive a second time."""
    count = events.update(published_at=None, error="")
    if count and connection.vendor == "postgresql":  # its trigger is for new rows
        with connection.cursor() as cursor:
            cursor.execute(f"NOTIFY {CHANNEL}")
    return count
