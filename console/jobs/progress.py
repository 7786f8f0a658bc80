"""The progress of a group's jobs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Case, Count, IntegerField, QuerySet, Value, When
from django.utils import timezone

from stockqueue.wording import describe_duration
from tasks.describe import describe_end, describe_wait, run_time_of, wait_of
from tasks.models import Job, JobGroup

SHOWN = 50
"""Jobs shown as rows; the rest is only counted."""

_IN_ORDER = (*Job.UNSUCCESSFUL, Job.Status.RUNNING, Job.Status.QUEUED, Job.Status.PENDING, Job.Status.COMPLETED)
"""The order of rows, the most interesting first."""


@dataclass(frozen=True)
class JobRow:
    """A job; `details` is its result, its error or the reason of its wait. Times are of the latest attempt."""

    job: Job
    details: str
    waited: str
    ran: str


@dataclass(frozen=True)
class Progress:
    """The progress of a group; `counts` has only states with jobs, `rows` at most SHOWN jobs, failures first."""

    at: datetime
    counts: Mapping[Job.Status, int]
    rows: Sequence[JobRow]

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def ended(self) -> int:
        return sum(count for status, count in self.counts.items() if status not in Job.ACTIVE)

    @property
    def not_done(self) -> int:
        """The number of jobs that ended without success."""
        return sum(self.counts.get(status, 0) for status in Job.UNSUCCESSFUL)

    @property
    def is_over(self) -> bool:
        return self.ended == self.total

    @property
    def more(self) -> int:
        """The number of jobs without a row."""
        return self.total - len(self.rows)


def progress_of(group: JobGroup) -> Progress:
    """The group's progress, with two queries for any number of jobs."""
    # Counted first: if all jobs have ended by then, the rows show ended jobs too.
    found = dict(group.jobs.order_by().values_list("status").annotate(jobs=Count("pk")))
    now = timezone.now()
    return Progress(
        at=now,
        counts={status: found[status] for status in _IN_ORDER if status in found},
        rows=[_row(job, now) for job in _first(group.jobs.all())],
    )


def _first(jobs: QuerySet[Job]) -> QuerySet[Job]:
    place = Case(
        *(When(status=status, then=Value(number)) for number, status in enumerate(_IN_ORDER)),
        output_field=IntegerField(),
    )
    return jobs.order_by(place, "-finished_at", "created_at", "pk")[:SHOWN]


def _row(job: Job, now: datetime) -> JobRow:
    return JobRow(job, _details(job, now), _words(wait_of(job, now)), _words(run_time_of(job, now)))


def _details(job: Job, now: datetime) -> str:
    if job.status in Job.ACTIVE:
        return describe_wait(job, now)
    return describe_end(job) if job.status == Job.Status.COMPLETED else job.error


def _words(duration: timedelta | None) -> str:
    return "" if duration is None else describe_duration(duration)
