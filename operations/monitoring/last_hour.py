"""Statistics of the last hour: durations of jobs and logins, and the share of successful attempts."""

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
"""The most ended jobs, or requests of logins, in a sample for percentiles; the newest count."""
ONE_LOGIN = 5.0
"""A user's requests within so many seconds of each other count as the same login, for lack of a better criterion."""

FRESH, INCOMPLETE, WAITING = "fresh", "incomplete", "waiting"
"""The results of logins: see `Logins`."""


class _Unix(Func):
    """A moment as Unix time: Django takes 5 us to make each datetime from PostgreSQL's answer.

    To the microsecond on PostgreSQL, to the millisecond on SQLite.
    """

    output_field = FloatField()
    template = "EXTRACT(EPOCH FROM %(expressions)s)::float8"

    def get_db_converters(self, connection: Any) -> list[Any]:
        return []  # both databases send a float; Django would convert each float again

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
        """The spread of durations, to the millisecond; never negative, even between machines with different clocks."""
        ordered = sorted(seconds)
        return cls(*(round(max(percentile(ordered, share), 0.0), 3) for share in (0.5, 0.95)))


@dataclass(frozen=True)
class ProcessingTime:
    """Seconds of processing: the last attempts of `jobs` that ran to their end.

    `p50` and `p95` are from start to end; `wait_p50` and `wait_p95` from the broker's acceptance to the start.
    """

    job_type: str
    jobs: int
    p50: float
    p95: float
    wait_p50: float
    wait_p95: float


@dataclass(frozen=True)
class Ended:
    """The number of jobs with the same end at a worker (empty: none), and their failed attempts before."""

    worker_id: str
    job_type: str
    status: str
    jobs: int
    retries: int


@dataclass(frozen=True)
class Logins:
    """Logins that requested jobs: with all data (`fresh`), without some (`incomplete`), or not finished (`waiting`).

    `seconds` is the time from a login's first request to the end of its last job, made or joined, over fresh logins;
    None without fresh logins.
    """

    fresh: int
    incomplete: int
    waiting: int
    seconds: Spread | None


def processing_times(now: datetime) -> list[ProcessingTime]:
    """The processing times of each job type, over the newest ended jobs."""
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
    """The ends of jobs by worker, type and status; combinations without jobs are left out."""
    rows = (
        Job.objects.ended_since(now - HOUR)
        .order_by()
        .values_list("worker_id", "job_type", "status")
        .annotate(jobs=Count("pk"), failures=Sum("retries"))
    )
    return [Ended(*row) for row in rows]


def efficiency(ends: Iterable[Ended], failures: int) -> float | None:
    """The share of successful attempts, 0 to 1; None without attempts.

    Counts the attempts at jobs that ended in the last hour, and the `failures` of jobs that have not ended. An attempt
    that was snoozed, or handed back by a stopping worker, is no failure.
    """
    ends = list(ends)
    succeeded = sum(end.jobs for end in ends if end.status == Job.Status.COMPLETED)
    failed = sum(end.jobs for end in ends if end.status == Job.Status.FAILED) + sum(end.retries for end in ends)
    attempts = succeeded + failed + failures
    return succeeded / attempts if attempts else None


def logins(now: datetime) -> Logins:
    """The results of the last hour's logins, limited to the newest requests."""
    found = _logins(now)
    times = [login.seconds for login in found if login.result == FRESH]
    counts = Counter(login.result for login in found)
    return Logins(counts[FRESH], counts[INCOMPLETE], counts[WAITING], Spread.of(times) if times else None)


def deciding_requests(now: datetime) -> dict[str, list[int]]:
    """For each result, the deciding request of each login that `logins` counts."""
    found: dict[str, list[int]] = {result: [] for result in (FRESH, INCOMPLETE, WAITING)}
    for login in _logins(now):
        found[login.result].append(login.deciding.pk)
    return found


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of the sorted values that has at least `share` of all values at or below it (nearest rank)."""
    return values[max(0, math.ceil(share * len(values)) - 1)]


class _Request(NamedTuple):
    """A login's request for a job, with its result: the job's end (Unix time), and the source of the job's data."""

    pk: int
    user: int
    created: float
    status: str
    finished: float | None
    source: str | None

    @property
    def brought_data(self) -> bool:
        """Whether the job brought new data. A fallback to the last good bars leaves its stock stale."""
        return self.status == Job.Status.COMPLETED and self.source != CACHED


class _Login:
    """The requests of a login, the oldest first."""

    def __init__(self, first: _Request) -> None:
        self.requests = [first]

    @cached_property
    def deciding(self) -> _Request:
        """The first request not ended; or else the first without data; or else the last to end."""
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
        """The duration of a fresh login."""
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
