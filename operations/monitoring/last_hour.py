"""What the last hour was like: how long jobs and logins took, and how many attempts succeeded."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple

from django.db.models import Count, FloatField, Func, Sum
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Coalesce

from market.sources import CACHED
from tasks.models import Job, JobRequest

HOUR = timedelta(hours=1)
SAMPLE = 10_000
"""The newest ended jobs, or requests of logins, that percentiles are taken from, at most."""
ONE_LOGIN = 5.0
"""A user's requests that follow each other within so many seconds are of one login: nothing else tells which are."""

FRESH, INCOMPLETE, WAITING = "fresh", "incomplete", "waiting"
"""What becomes of logins: see `Logins`."""


class _Unix(Func):
    """A moment as Unix time: Django takes 5 us to make each datetime that PostgreSQL sends.

    To the microsecond on PostgreSQL, to the millisecond on SQLite.
    """

    output_field = FloatField()
    template = "EXTRACT(EPOCH FROM %(expressions)s)::float8"

    def get_db_converters(self, connection: Any) -> list[Any]:
        return []  # both databases send a float; Django would have each of them made one again

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(
            compiler, connection, template="(julianday(%(expressions)s) - 2440587.5) * 86400.0", **context
        )


@dataclass(frozen=True)
class Spread:
    """Median and 95th percentile, in seconds."""

    p50: float
    p95: float

    @classmethod
    def of(cls, seconds: Iterable[float]) -> "Spread":
        """To the millisecond; machines whose clocks differ do not make it negative."""
        ordered = sorted(seconds)
        return cls(*(round(max(percentile(ordered, share), 0.0), 3) for share in (0.5, 0.95)))


@dataclass(frozen=True)
class ProcessingTime:
    """Seconds that `jobs` took, of those that ran to an end: their last attempts.

    `p50` and `p95` are from start to end; `wait_p50` and `wait_p95` from the broker's taking it to the start.
    """

    job_type: str
    jobs: int
    p50: float
    p95: float
    wait_p50: float
    wait_p95: float


@dataclass(frozen=True)
class Ended:
    """Jobs that ended so at one worker (empty: at none), and how many failed attempts they had before."""

    worker_id: str
    job_type: str
    status: str
    jobs: int
    retries: int


@dataclass(frozen=True)
class Logins:
    """Logins that asked for something: all of it came (`fresh`), some did not (`incomplete`), or is on its way.

    `seconds` is from a login's first request to the end of the last job that it made or joined, of those that are
    fresh; None where there is none.
    """

    fresh: int
    incomplete: int
    waiting: int
    seconds: Spread | None


def processing_times(now: datetime) -> list[ProcessingTime]:
    """How long jobs of each type took, of the newest that ended."""
    rows = (
        Job.objects.ended_since(now - HOUR)
        .filter(status__in=Job.WORKED_TO_THE_END, started_at__isnull=False)
        .order_by("-finished_at")
        .values_list(
            "job_type",
            _Unix("started_at") - _Unix(Coalesce("queued_at", "started_at")),
            _Unix("finished_at") - _Unix("started_at"),
        )
    )
    took: dict[str, list[list[float]]] = {}
    for job_type, *seconds in rows[:SAMPLE]:
        took.setdefault(job_type, []).append(seconds)
    times = []
    for job_type, pairs in sorted(took.items()):
        waits, runs = (Spread.of(column) for column in zip(*pairs, strict=True))
        times.append(ProcessingTime(job_type, len(pairs), runs.p50, runs.p95, waits.p50, waits.p95))
    return times


def ended(now: datetime) -> list[Ended]:
    """How jobs ended, by worker and type; each of the kinds that there were."""
    rows = (
        Job.objects.ended_since(now - HOUR)
        .order_by()
        .values_list("worker_id", "job_type", "status")
        .annotate(jobs=Count("pk"), failures=Sum("retries"))
    )
    return [Ended(*row) for row in rows]


def efficiency(ends: Iterable[Ended], failures: int) -> float | None:
    """The share of attempts that succeeded, 0 to 1; None where there was none.

    Counted are the attempts at jobs that ended in the last hour, and the `failures` of jobs that have not ended. An
    attempt that had to wait for a source's budget, or was handed back by a worker that stops, is no failure.
    """
    ends = list(ends)
    succeeded = sum(end.jobs for end in ends if end.status == Job.Status.COMPLETED)
    failed = sum(end.jobs for end in ends if end.status == Job.Status.FAILED) + sum(end.retries for end in ends)
    attempts = succeeded + failed + failures
    return succeeded / attempts if attempts else None


def logins(now: datetime) -> Logins:
    """What became of the logins of the last hour, the newest requests of them at most."""
    found = _logins(now)
    times = [login.seconds for login in found if login.result == FRESH]
    counts = Counter(login.result for login in found)
    return Logins(counts[FRESH], counts[INCOMPLETE], counts[WAITING], Spread.of(times) if times else None)


def deciding_requests(now: datetime) -> dict[str, list[int]]:
    """For each result, one request of each login that `logins` counts there: the one that decided it."""
    found: dict[str, list[int]] = {result: [] for result in (FRESH, INCOMPLETE, WAITING)}
    for login in _logins(now):
        found[login.result].append(login.deciding.pk)
    return found


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of the sorted values that at least this share of them do not exceed (nearest rank)."""
    return values[max(0, math.ceil(share * len(values)) - 1)]


class _Request(NamedTuple):
    """A login's wish for a job, and what became of it: when (Unix time), and whose answer the job ended with."""

    pk: int
    user: int
    created: float
    status: str
    finished: float | None
    source: str | None

    @property
    def brought_data(self) -> bool:
        """What ended with the last good bars left its stock stale."""
        return self.status == Job.Status.COMPLETED and self.source != CACHED


class _Login:
    """The requests of one login, the oldest first."""

    def __init__(self, first: _Request) -> None:
        self.requests = [first]

    @cached_property
    def deciding(self) -> _Request:
        """The first that is on its way; where all have ended, the first without data; else the last to end."""
        waiting = (request for request in self.requests if request.finished is None)
        lacking = (request for request in self.requests if not request.brought_data)
        last = max(self.requests, key=lambda request: request.finished or 0)
        return next(chain(waiting, lacking), last)

    @property
    def result(self) -> str:
        if self.deciding.finished is None:
            return WAITING
        return FRESH if self.deciding.brought_data else INCOMPLETE

    @property
    def seconds(self) -> float:
        """Of one that is fresh: how long that took."""
        return (self.deciding.finished or 0) - self.requests[0].created


def _logins(now: datetime) -> list[_Login]:
    rows = (
        JobRequest.objects.filter(trigger=Job.Trigger.USER_LOGIN, created_at__gte=now - HOUR, user__isnull=False)
        .order_by("-created_at")
        .values_list(
            "pk",
            "user",
            _Unix("created_at"),
            "job__status",
            _Unix("job__finished_at"),
            KeyTextTransform("source", "job__result"),
        )
    )
    found: list[_Login] = []
    for request in sorted(map(_Request._make, rows[:SAMPLE]), key=itemgetter(1, 2)):
        last = found[-1].requests[-1] if found else None
        if last and last.user == request.user and request.created - last.created <= ONE_LOGIN:
            found[-1].requests.append(request)
        else:
            found.append(_Login(request))
    return found
