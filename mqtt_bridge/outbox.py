"""The events that wait for the MQTT broker: which they are, and what became of them."""

from collections.abc import Collection, Mapping

from django.db.models import Prefetch, QuerySet
from django.utils import timezone

from tasks.models import Job, JobEvent, JobRequest


def waiting(limit: int) -> list[JobEvent]:
    """The oldest events that wait, each with its job and the job's requesters by login.

    Never "everything after the last one": ids commit out of order, and a late one would be passed over.
    """
    logins = JobRequest.objects.filter(trigger=Job.Trigger.USER_LOGIN).exclude(user=None)
    oldest = JobEvent.objects.filter(published_at__isnull=True, error="").order_by("id")
    return list(
        oldest.select_related("job").prefetch_related(Prefetch("job__requests", logins, "login_requests"))[:limit]
    )


def mark_published(event_ids: Collection[int]) -> None:
    """The broker has acknowledged all messages of these."""
    if event_ids:
        JobEvent.objects.filter(pk__in=event_ids).update(published_at=timezone.now())


def set_aside(errors: Mapping[int, str]) -> None:
    """These cannot be published; why is kept with each, until someone has them sent again."""
    for event_id, error in errors.items():
        JobEvent.objects.filter(pk=event_id).update(error=error)


def send_again(events: "QuerySet[JobEvent]") -> int:
    """Put events back into the outbox; how many. Those that were published arrive a second time."""
    return events.update(published_at=None, error="")
