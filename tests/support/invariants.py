"""What must hold after every fault, as one function for each promise. They look at the database and at what arrived.

`messages` are those of one topic a job, such as `stock/+/+` or `jobs/status/+`: order is promised within a topic.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from itertools import pairwise
from typing import Any

from market.models import PriceBar
from operations.local.mqtt_subscriber import Message
from tasks.models import Job, JobEvent

Status = Job.Status

ENDS = (Status.COMPLETED, Status.FAILED, Status.EXPIRED, Status.CANCELLED)
# What a status may be followed by, and the event that tells so.
_STEPS: dict[tuple[str | None, str], str] = {
    (None, "created"): Status.PENDING,
    (Status.PENDING, "queued"): Status.QUEUED,
    (Status.QUEUED, "started"): Status.RUNNING,
    (Status.RUNNING, "progress"): Status.RUNNING,
    (Status.RUNNING, "queued"): Status.QUEUED,  # of a job that waits again for what an earlier event has told
    (Status.RUNNING, "retried"): Status.PENDING,
    (Status.RUNNING, "completed"): Status.COMPLETED,
    (Status.RUNNING, "failed"): Status.FAILED,
    (Status.QUEUED, "expired"): Status.EXPIRED,
    **{(status, "promoted"): status for status in Job.WAITING},
    **{(status, "cancelled"): Status.CANCELLED for status in Job.ACTIVE},
}


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


def check_jobs(jobs: Iterable[Job], *, served: Callable[[str], dict[date, float]] | None = None) -> None:
    """What must hold for jobs, whatever happened on the way; call it once they have ended.

    Each is in the database, and its events, numbered without gaps, are a life as it may be: one step after another, an
    end, nothing after it. Each start is one attempt, and what an attempt wrote it wrote before the next one began.
    Never were two of them active for the same thing. With `served` (a symbol's closes by day) the bars of fetched
    stocks are those, each stored once: `jobs` must then be all that there are for these stocks, from no bars on.
    """
    ids = {job.pk for job in jobs}
    found = list(Job.objects.filter(pk__in=ids))
    assert {job.pk for job in found} == ids, "a committed job is gone"
    events: dict[Any, list[JobEvent]] = defaultdict(list)
    for event in JobEvent.objects.filter(job__in=ids).order_by("seq"):
        events[event.job_id].append(event)
    for job in found:
        _check_life(job, events[job.pk])
    _check_one_active_for_each_thing(found, events)
    if served is not None:
        _check_bars(found, served)


def _check_life(job: Job, events: list[JobEvent]) -> None:
    told = f"job {job.pk} ({job}, {job.status}, attempt {job.attempt}): {[event.event for event in events]}"
    assert [event.seq for event in events] == list(range(1, job.last_seq + 1)), f"{told}: seq has gaps"
    status: str | None = None
    attempt = 0
    for event in events:
        assert (status, event.event) in _STEPS, f"{told}: {event.event} ({event.seq}) after {status}"
        status = Status.PENDING if "waiting_for" in event.payload else _STEPS[status, event.event]
        attempt += event.event == "started"
        assert event.payload["state"] == status, f"{told}: {event.seq} says {event.payload['state']}"
        assert event.payload["attempt"] == attempt, f"{told}: {event.seq} is of attempt {event.payload['attempt']}"
    assert status in ENDS, f"{told}: it has not ended"
    assert (job.status, job.attempt) == (status, attempt), f"{told}: its events say otherwise"
    assert job.finished_at is not None, f"{told}: finished_at is empty"
    assert bool(job.outcome) == (status == Status.COMPLETED), f"{told}: outcome is {job.outcome!r}"


def _check_one_active_for_each_thing(jobs: Iterable[Job], events: dict[Any, list[JobEvent]]) -> None:
    """By the events' times: a job's end is told before its commit, its successor's begin after its insert."""
    lives: dict[str, list[tuple[datetime, datetime, Job]]] = defaultdict(list)
    for job in jobs:
        lives[job.unique_key].append((events[job.pk][0].created_at, events[job.pk][-1].created_at, job))
    for key, same in lives.items():
        same.sort(key=lambda life: life[0])
        for (_, end, first), (begin, _, second) in pairwise(same):
            assert end <= begin, f"{key}: {first.pk} and {second.pk} were active together"


def _check_bars(jobs: Iterable[Job], served: Callable[[str], dict[date, float]]) -> None:
    written: dict[str, int] = defaultdict(int)
    for job in jobs:
        if job.status == Status.COMPLETED and job.job_type == Job.Type.STOCK_FETCH:
            written[job.symbol] += (job.result or {})["records_stored"]
    for symbol, count in written.items():
        stored = dict(PriceBar.objects.filter(stock__symbol=symbol).values_list("date", "close"))
        assert stored, f"{symbol}: no bars"
        assert stored == {day: close for day, close in served(symbol).items() if day >= min(stored)}, symbol
        assert count == len(stored), f"{symbol}: {count} bars were written, {len(stored)} are there"
