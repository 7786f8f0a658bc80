"""Replays events: returns many published events or dead letters to the outbox, in batches."""

from collections.abc import Iterator
from typing import NamedTuple

from django.db.models import QuerySet

from mqtt_bridge import outbox
from mqtt_bridge.topic_filters import matches_any
from mqtt_bridge.topics import InvalidTopic, lifecycle_targets
from tasks.models import UNPUBLISHED, JobEvent

EVENTS_PER_UPDATE = 1_000
"""Events read, and updated, in a statement."""


class Replayed(NamedTuple):
    """How many events return to the outbox, and of how many jobs."""

    events: int
    jobs: int

    def __str__(self) -> str:
        return f"{_count(self.events, 'event')} of {_count(self.jobs, 'job')}"


def replay(events: "QuerySet[JobEvent]", topic_filter: str | None = None, *, dry_run: bool = False) -> Replayed:
    """Publish `events` again, except waiting events. With a filter, only events with a matching topic.

    The oldest events come first. Each batch has its own transaction: after an interruption, the rest is unchanged.
    """
    count = 0
    jobs: set[int] = set()  # all that grows: less than 100 bytes a job
    for batch in _batches(events.exclude(UNPUBLISHED), topic_filter):
        count += len(batch)
        jobs.update(event.job_id.int for event in batch)
        if not dry_run:
            outbox.send_again(JobEvent.objects.filter(pk__in=[event.pk for event in batch]))
    return Replayed(count, len(jobs))


def _batches(events: "QuerySet[JobEvent]", topic_filter: str | None) -> Iterator[list[JobEvent]]:
    needed = ["job_id"]
    if topic_filter is not None:
        events = outbox.with_logins(events)
        needed += ["event", "payload", "job__job_type", "job__symbol"]
    events = events.only(*needed).order_by("pk")
    newest = 0
    while batch := list(events.filter(pk__gt=newest)[:EVENTS_PER_UPDATE]):
        newest = batch[-1].pk
        yield batch if topic_filter is None else [event for event in batch if _matches(event, topic_filter)]


def _matches(event: JobEvent, topic_filter: str) -> bool:
    try:
        targets = lifecycle_targets(event, outbox.login_users(event))
    except (InvalidTopic, KeyError):  # the event cannot be published
        return False
    return matches_any(topic_filter, (target.topic for target in targets))


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
