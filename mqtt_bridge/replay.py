"""Events that were published, or set aside, go back into the outbox: many of them, a few at a time."""

from collections.abc import Iterator
from typing import NamedTuple

from django.db.models import QuerySet

from mqtt_bridge import outbox
from mqtt_bridge.topic_filters import matches_any
from mqtt_bridge.topics import InvalidTopic, lifecycle_targets
from tasks.models import UNPUBLISHED, JobEvent

BATCH = 1_000
"""Events that are looked at, and put back, in one statement each."""


class Replayed(NamedTuple):
    """How much goes back into the outbox."""

    events: int
    jobs: int

    def __str__(self) -> str:
        return f"{_count(self.events, 'event')} of {_count(self.jobs, 'job')}"


def replay(events: "QuerySet[JobEvent]", topic_filter: str | None = None, *, dry_run: bool = False) -> Replayed:
    """Have those of `events` published again that do not wait anyway and, with a filter, have a topic that matches.

    The oldest come first. Each batch is a transaction of its own: when it is interrupted, the rest is as it was.
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
    while batch := list(events.filter(pk__gt=newest)[:BATCH]):
        newest = batch[-1].pk
        yield batch if topic_filter is None else [event for event in batch if _matches(event, topic_filter)]


def _matches(event: JobEvent, topic_filter: str) -> bool:
    try:
        targets = lifecycle_targets(event, outbox.login_users(event))
    except (InvalidTopic, KeyError):  # it cannot be published
        return False
    return matches_any(topic_filter, (target.topic for target in targets))


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
