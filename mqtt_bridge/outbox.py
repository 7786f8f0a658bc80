"""The outbox: events that wait for the MQTT broker, and their marks as published or as dead letters."""

from collections.abc import Collection, Mapping

from django.db.models import Prefetch, QuerySet
from django.utils import timezone

from tasks.models import UNPUBLISHED, Job, JobEvent, JobRequest
from tasks.wakeup import wake

_NEEDED = (
    *("seq", "event", "payload", "created_at"),
    *(f"job__{name}" for name in ("job_type", "subtype", "user_id", "symbol", "created_at", "parameters", "trigger")),
)
"""The fields that messages need; reading all fields takes longer than building the messages."""


def waiting(limit: int) -> list[JobEvent]:
    """The oldest unpublished events, each with its job and the job's requesters by login.

    Not a query for ids after the last event: ids commit out of order, and a late id would be skipped.
    """
    oldest = JobEvent.objects.filter(UNPUBLISHED).order_by("id")
    return list(with_logins(oldest)[:limit])


def with_logins(events: "QuerySet[JobEvent]") -> "QuerySet[JobEvent]":
    """The events with the fields that messages need, and with the requests that `login_users` needs."""
    logins = JobRequest.objects.filter(trigger=Job.Trigger.USER_LOGIN).exclude(user=None)
    needed = events.select_related("job").only(*_NEEDED)
    return needed.prefetch_related(Prefetch("job__requests", logins, "login_requests"))


def login_users(event: JobEvent) -> list[int]:
    """The ids of the job's requesters by login, without duplicates. The event must come from `with_logins`."""
    return list(dict.fromkeys(request.user_id for request in event.job.login_requests))  # type: ignore[attr-defined]


def mark_published(event_ids: Collection[int]) -> None:
    """Mark events after the broker has acknowledged all their messages."""
    if event_ids:
        JobEvent.objects.filter(pk__in=event_ids).update(published_at=timezone.now())


def set_aside(errors: Mapping[int, str]) -> None:
    """Set events aside as dead letters, each with its error, until a person publishes them again."""
    JobEvent.objects.bulk_update([JobEvent(pk=pk, error=error) for pk, error in errors.items()], ["error"])


def send_again(events: "QuerySet[JobEvent]") -> int:
    """Return events to the outbox; return their number. Published events will arrive a second time."""
    count = events.update(published_at=None, error="")
    if count:
        wake()  # the trigger fires for new rows only
    return count
