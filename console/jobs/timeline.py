"""The timeline of a job, computed from its events: steps, phases and attempts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from stockqueue.wording import describe_duration, describe_moment
from tasks.describe import describe_event
from tasks.models import Job, JobEvent

MOST_STEPS = 200
"""Events shown, the newest, not counting progress events."""
PROGRESS_SHOWN = 10
"""Progress events shown, the newest; a batch may have thousands."""

Event = JobEvent.Event

_PHASES: dict[str, str] = {
    Event.CREATED: "waits for its turn",
    Event.QUEUED: "waits for a worker",
    Event.STARTED: "runs",
    Event.RETRIED: "waits for its next attempt",
}
"""A job's activity after each event."""
_FAILURES = (Event.RETRIED, Event.FAILED, Event.EXPIRED, Event.CANCELLED)


@dataclass(frozen=True)
class Step:
    """An event; `after` is the time since the previous event, `missing` the number of hidden events between."""

    event: JobEvent
    after: str
    missing: int

    @property
    def details(self) -> str:
        return describe_event(self.event)

    @property
    def is_failure(self) -> bool:
        return self.event.event in _FAILURES

    @property
    def published(self) -> str:
        """The time of publication on MQTT, or the reason why the event is unpublished."""
        if self.event.error:
            return f"dead letter: {self.event.error}"
        if self.event.published_at is None:
            return "not published yet"
        later = _between(self.event.created_at, self.event.published_at)
        return f"published {describe_moment(self.event.published_at)}, {later} later"


@dataclass(frozen=True)
class Phase:
    """A part of the job's time; `share` is in per cent of the whole."""

    state: str
    words: str
    took: str
    share: float


@dataclass(frozen=True)
class Attempt:
    """One attempt with its worker, end and error; `end` is empty while the job runs."""

    number: int
    worker_id: str
    began: datetime
    took: str
    end: str
    error: str


def events_of(job: Job) -> list[JobEvent]:
    """The shown events of a job in order. Two queries for any number of events."""
    others = job.events.exclude(event=Event.PROGRESS).order_by("-seq")[:MOST_STEPS]
    progress = job.events.filter(event=Event.PROGRESS).order_by("-seq")[:PROGRESS_SHOWN]
    return sorted([*others, *progress], key=lambda event: event.seq)


def steps(events: Sequence[JobEvent]) -> list[Step]:
    """Each event with the time since the previous event."""
    found = [Step(event, "", event.seq - 1) for event in events[:1]]
    for before, event in pairwise(events):
        found.append(Step(event, _between(before.created_at, event.created_at), event.seq - before.seq - 1))
    return found


def phases(job: Job, events: Sequence[JobEvent], now: datetime) -> list[Phase]:
    """The phases of a job from its first event to its last, or until now."""
    begun = [event for event in events if event.event != Event.PROMOTED and not _is_progress(event)]
    ends = [event.created_at for event in begun[1:]] + ([] if job.finished_at else [now])
    spans = [(event, max(end - event.created_at, timedelta())) for event, end in zip(begun, ends, strict=False)]
    all_of_it = sum((took for _, took in spans), timedelta())
    return [
        Phase(
            state=str(event.payload.get("state", "")),
            words=_PHASES.get(event.event) or f"waits for {event.payload.get('waiting_for', '')}",
            took=_describe(took),
            share=round(100 * (took / all_of_it), 1) if all_of_it else 0.0,
        )
        for event, took in spans
    ]


def attempts(events: Sequence[JobEvent], now: datetime) -> list[Attempt]:
    """The attempts of a job, in order."""
    return list(_attempts(events, now))


def _attempts(events: Sequence[JobEvent], now: datetime) -> Iterator[Attempt]:
    starts = [number for number, event in enumerate(events) if event.event == Event.STARTED]
    for first, last in pairwise([*starts, len(events)]):
        start, *later = events[first:last]
        end = next((event for event in later if event.payload.get("state") != Job.Status.RUNNING), None)
        yield Attempt(
            number=start.payload.get("attempt", 0),
            worker_id=start.payload.get("worker_id", ""),
            began=start.created_at,
            took=_between(start.created_at, now if end is None else end.created_at),
            end="" if end is None else "snoozed" if end.event == Event.PROGRESS else end.event,
            error="" if end is None else str(end.payload.get("error", "")),
        )


def _is_progress(event: JobEvent) -> bool:
    """Whether the job continued to run. In other states, the event names the cause of a wait."""
    return event.event == Event.PROGRESS and event.payload.get("state") == Job.Status.RUNNING


def _between(start: datetime, end: datetime) -> str:
    return _describe(end - start)


def _describe(duration: timedelta) -> str:
    """The duration in words, in milliseconds below a second."""
    if duration < timedelta(seconds=1):
        return f"{max(duration, timedelta()) / timedelta(milliseconds=1):.0f} ms"
    return describe_duration(duration)
