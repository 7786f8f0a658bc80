"""The data of the charts: figures of each minute of the last week, recorded by the checks of alerts.

Depths of queues cannot be computed afterwards. Without checks (beat and bridge are away), nothing is recorded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum

from django.db.models import F, FloatField, Max, Min, QuerySet
from django.db.models.fields.json import KT
from django.db.models.functions import Cast
from django.utils import timezone

from market.sources import available_sources
from operations.models import Reading
from operations.monitoring.metric_queries import Measure, largest, total
from operations.monitoring.metrics import Samples
from tasks.models import Job

KEPT = timedelta(days=8)
REQUESTS = "requests_"
"""The prefix of a source's figure."""
_MINUTE = timedelta(minutes=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _p95(metric: str, job_type: str) -> Measure:
    return largest(metric, job_type=job_type, percentile="95")


_MEASURES: Mapping[str, Measure] = {
    **{f"waiting_{queue}": total("stockqueue_jobs", queue=queue, state=Job.WAITING) for queue in Job.Queue},
    "oldest_waiting": largest("stockqueue_oldest_waiting_job_age_seconds"),
    **{str(status): total("stockqueue_ended_jobs", status=status) for status in Job.ENDED},
    **{f"wait_{job_type}": _p95("stockqueue_job_wait_seconds", job_type) for job_type in Job.Type},
    **{f"run_{job_type}": _p95("stockqueue_job_processing_seconds", job_type) for job_type in Job.Type},
    "login_p50": largest("stockqueue_login_to_fresh_seconds", percentile="50"),
    "login_p95": largest("stockqueue_login_to_fresh_seconds", percentile="95"),
    "coverage": largest("stockqueue_coverage_ratio"),
    "instant_logins": largest("stockqueue_instant_logins_ratio"),
}
"""The metric of each figure of a `Reading`, except the requests."""
_BEST_HIGH = ("coverage", "instant_logins")
"""The figures whose lowest value is the worst."""


class Period(Enum):
    """The range of a chart: its points, and the minutes behind each point."""

    HOUR = "hour", 60, 1, "a point each minute"
    DAY = "day", 96, 15, "a point each 15 minutes"
    WEEK = "week", 168, 60, "a point each hour"

    def __init__(self, title: str, points: int, minutes: int, pace: str) -> None:
        self.title, self.points, self.minutes, self.pace = title, points, minutes, pace

    @property
    def step(self) -> timedelta:
        return self.minutes * _MINUTE


@dataclass(frozen=True)
class Point:
    """The worst of each figure from `start` on: the highest, or for shares the lowest; None without a value.

    Empty for a time without measurements.
    """

    start: datetime
    figures: Mapping[str, float | None]


def keep(samples: Samples, now: datetime) -> None:
    """Record the figures of the current minute, unless recorded already."""
    reading = Reading(
        minute=_minute_of(now),
        at=now,
        requests={labels["source"]: value for labels, value in samples.get("stockqueue_source_requests", ())},
        **{name: measure(samples) for name, measure in _MEASURES.items()},
    )
    Reading.objects.bulk_create([reading], ignore_conflicts=True)


def latest() -> Reading | None:
    """The latest reading."""
    return Reading.objects.order_by("-minute").first()


def figure_of(reading: Reading, name: str) -> float | None:
    """A figure of a reading by name, as in a `Point`."""
    source = name.removeprefix(REQUESTS)
    value: float | None = getattr(reading, name) if source == name else reading.requests.get(source)
    return value


def history(period: Period, now: datetime) -> Sequence[Point]:
    """The points of the period, the oldest first; the last point is current, and not complete. One query."""
    last = _minute_of(now) // period.minutes
    first = last - period.points + 1
    worst = {name: Min(name) if name in _BEST_HIGH else Max(name) for name in _MEASURES}
    for source in available_sources():
        worst[REQUESTS + source] = Max(Cast(KT(f"requests__{source}"), FloatField()))
    rows = (
        Reading.objects.filter(minute__gte=first * period.minutes, minute__lt=(last + 1) * period.minutes)
        .annotate(point=F("minute") / period.minutes)
        .values_list("point")
        .annotate(**{f"worst_{name}": function for name, function in worst.items()})
    )
    found: dict[int, Mapping[str, float | None]] = {
        point: dict(zip(worst, figures, strict=True)) for point, *figures in rows
    }
    return [Point(_EPOCH + number * period.step, found.get(number, {})) for number in range(first, last + 1)]


def expired(_before: datetime) -> QuerySet[Reading]:
    """Readings too old for any chart, independent of the age limit for jobs."""
    return Reading.objects.filter(minute__lt=_minute_of(timezone.now() - KEPT))


def _minute_of(moment: datetime) -> int:
    return (moment - _EPOCH) // _MINUTE
