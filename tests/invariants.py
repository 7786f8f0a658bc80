"""What must hold after every fault, as one function for each promise. They look at the database and at what arrived.

`messages` are those of one topic a job, such as `stock/+/+` or `jobs/status/+`: order is promised within a topic.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from operations.subscriber import Message
from tasks.models import Job, JobEvent


def payloads(messages: Iterable[Message]) -> list[dict[str, Any]]:
    return [json.loads(message.payload) for message in messages]


def arrived_event_ids(messages: Iterable[Message]) -> set[int]:
    return {payload["event_id"] for payload in payloads(messages)}


def event_ids(jobs: Iterable[Job]) -> set[int]:
    """All events of `jobs` that are committed."""
    return set(JobEvent.objects.filter(job__in=[job.pk for job in jobs]).values_list("pk", flat=True))


def check_seq_has_no_gaps(jobs: Iterable[Job]) -> None:
    for job in Job.objects.filter(pk__in=[job.pk for job in jobs]):
        found = list(job.events.order_by("seq").values_list("seq", flat=True))
        assert found == list(range(1, job.last_seq + 1)), f"{job}: seq {found}, but last_seq is {job.last_seq}"


def check_no_event_without_a_committed_job(messages: Sequence[Message]) -> None:
    """Whatever arrived tells of an event that is in the database, and tells it as it is there."""
    committed = {
        event.pk: (str(event.job_id), event.seq, event.event)
        for event in JobEvent.objects.filter(pk__in=arrived_event_ids(messages))
    }
    for payload in payloads(messages):
        told = (payload["job_id"], payload["seq"], payload["event"])
        assert committed.get(payload["event_id"]) == told, f"event {payload['event_id']} is not committed as {told}"


def check_every_event_arrived_in_order(messages: Sequence[Message], jobs: Iterable[Job]) -> None:
    """Each event of `jobs` came at least once; without the repeated ones, a job's came in order, with no gaps."""
    first_arrivals: dict[str, dict[int, int]] = {}
    for payload in payloads(messages):
        first_arrivals.setdefault(payload["job_id"], {}).setdefault(payload["event_id"], payload["seq"])
    for job in Job.objects.filter(pk__in=[job.pk for job in jobs]):
        arrived = list(first_arrivals.get(str(job.pk), {}).items())
        committed = list(job.events.order_by("seq").values_list("pk", "seq"))
        assert arrived == committed, f"{job}: (event_id, seq) {arrived} arrived, {committed} are committed"


def check_nothing_was_lost(messages: Sequence[Message], jobs: Sequence[Job]) -> None:
    """All of the above."""
    check_seq_has_no_gaps(jobs)
    check_no_event_without_a_committed_job(messages)
    check_every_event_arrived_in_order(messages, jobs)
