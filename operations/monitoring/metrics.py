"""The metrics of `/metrics`, collected on request. docs/operations.md has a row for each metric.

Every figure comes from the database, or from the cache about the cache, so that all web servers give the same answer.
All metrics are gauges: the process counts nothing.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.conf import settings
from django.utils import timezone
from prometheus_client import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from market.calendar.sessions import ends_of_calendars
from market.freshness import Freshness
from market.sources import available_sources
from market.sources.budget import usage_of
from operations.monitoring import last_hour, statistics
from operations.monitoring.holdings_freshness import count_held, held_stocks
from operations.monitoring.instant_logins import count_logins
from operations.monitoring.last_hour import Spread
from operations.monitoring.query_plans import plain_plans
from operations.monitoring.ratios import age, share
from operations.monitoring.statistics import ActiveJobs
from operations.monitoring.workers import Workforce, signs_of_life, workforce
from stockqueue import cache
from tasks.models import Job, Worker

SCHEMA = "stockqueue.metrics/1"


Samples = Mapping[str, Sequence[tuple[Mapping[str, str], float]]]
"""By metric: labels, and their value."""
Values = Mapping[Any, float | None]
"""Known values, by a tuple of the values of the labels, in order."""


class JobMetrics(Collector):
    """All metrics at `now`; created for each answer, outside of any registry."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def collect(self) -> Iterator[Metric]:
        """The switched-on families; the number of queries does not depend on the content of the database."""
        switches = settings.JOB_PROCESSOR.monitoring.stock_metrics
        active = statistics.active_jobs()
        if switches.queue_depth:
            yield from _queues(active, self._now)
        if switches.fetch_latency:
            yield from _job_times(self._now)
        if switches.portfolio_timing:
            yield from _logins(self._now)
        ends = last_hour.ended(self._now)
        yield _ended(ends)
        found = workforce()
        yield from _workers(found)
        if switches.worker_efficiency:
            yield from _efficiency(found, last_hour.efficiency(ends, active.failures))
        yield from _stocks(self._now)
        yield from _sources()
        yield _calendars(self._now)
        yield from _cache()
        meaning = "Jobs that wait because the broker refused them after their admission."
        yield _one("refused_jobs", meaning, Job.objects.refused().count())
        yield from _outbox(self._now)
        yield from _signs_of_life(self._now)
        yield _thresholds()


def samples(now: datetime) -> Samples:
    """All metrics, by name."""
    with plain_plans():
        return {
            family.name: [(sample.labels, sample.value) for sample in family.samples]
            for family in JobMetrics(now).collect()
        }


def as_text() -> bytes:
    """All metrics in Prometheus' text format."""
    with plain_plans():
        return generate_latest(JobMetrics(timezone.now()))


def as_json() -> dict[str, Any]:
    """The same metrics for programs, and the state of each held stock by its symbol, which the text leaves out."""
    with plain_plans():
        now = timezone.now()
        return {
            "schema": SCHEMA,
            "timestamp": int(now.timestamp()),
            "at": now.isoformat(),
            "metrics": {
                family.name: [{"labels": sample.labels, "value": sample.value} for sample in family.samples]
                for family in JobMetrics(now).collect()
            },
            "symbols": _by_symbol(now),
        }


def _gauge(name: str, meaning: str, values: Values, labels: Sequence[str] = ()) -> Metric:
    """A gauge with a sample for each known value."""
    family = GaugeMetricFamily(f"stockqueue_{name}", meaning, labels=labels)
    for label_values, value in values.items():
        if value is not None:
            family.add_metric([str(label) for label in label_values], value)
    return family


def _one(name: str, meaning: str, value: float | None) -> Metric:
    return _gauge(name, meaning, {(): value})


def _queues(active: ActiveJobs, now: datetime) -> Iterator[Metric]:
    depths = {
        (depth.queue, depth.priority, state): getattr(depth, state)
        for depth in active.depths()
        for state in map(str, Job.ACTIVE)
    }
    yield _gauge("jobs", "Active jobs.", depths, ["queue", "priority", "state"])
    ages = {(queue,): age(oldest, now) or 0 for queue, (_, oldest) in active.waiting().items()}
    meaning = "Seconds since the oldest waiting job was requested; 0 if no job waits."
    yield _gauge("oldest_waiting_job_age_seconds", meaning, ages, ["queue"])


def _job_times(now: datetime) -> Iterator[Metric]:
    times = last_hour.processing_times(now)
    waits = {one.job_type: Spread(one.wait_p50, one.wait_p95) for one in times}
    runs = {one.job_type: Spread(one.p50, one.p95) for one in times}
    labels = ["job_type", "percentile"]
    meaning = "Seconds from queued to started, of jobs that completed or failed in the last hour."
    yield _gauge("job_wait_seconds", meaning, _percentiles(waits), labels)
    meaning = "Seconds from started to ended, of jobs that completed or failed in the last hour."
    yield _gauge("job_processing_seconds", meaning, _percentiles(runs), labels)


def _percentiles(spreads: Mapping[str, Spread]) -> Values:
    return {
        (name, percentile): seconds
        for name, spread in spreads.items()
        for percentile, seconds in ((50, spread.p50), (95, spread.p95))
    }


def _logins(now: datetime) -> Iterator[Metric]:
    logins = last_hour.logins(now)
    results = {("fresh",): logins.fresh, ("incomplete",): logins.incomplete, ("waiting",): logins.waiting}
    yield _gauge("logins", "Logins of the last hour that requested stocks, by result.", results, ["result"])
    times = {} if logins.seconds is None else {(50,): logins.seconds.p50, (95,): logins.seconds.p95}
    meaning = "Seconds from a login to its last fresh holding, of the logins of the last hour."
    yield _gauge("login_to_fresh_seconds", meaning, times, ["percentile"])
    of_day = count_logins(now)
    yield _one("logins_last_day", "Logins of the last 24 hours by users with holdings.", of_day.all)
    meaning = "Share of the logins of the last 24 hours that found all held stocks fresh."
    yield _one("instant_logins_ratio", meaning, of_day.share)


def _calendars(now: datetime) -> Metric:
    meaning = "Last known session of an exchange calendar in use; below 90 days from now, the calendar ends then."
    ends = {(name,): end.timestamp() for name, end in ends_of_calendars(now).items()}
    return _gauge("calendar_end_timestamp_seconds", meaning, ends, ["calendar"])


def _ended(ends: Iterable[last_hour.Ended]) -> Metric:
    found: Counter[Any] = Counter({(str(job_type), str(status)): 0 for job_type in Job.Type for status in Job.ENDED})
    for end in ends:
        found[end.job_type, end.status] += end.jobs
    return _gauge("ended_jobs", "Jobs that ended in the last hour.", found, ["job_type", "status"])


def _workers(found: Workforce) -> Iterator[Metric]:
    counts = {(str(Worker.State.ALIVE),): found.alive, (str(Worker.State.GONE),): found.gone}
    yield _gauge("workers", "Celery workers, except workers that shut down cleanly.", counts, ["state"])
    yield _one("worker_processes", "Processes of the workers: each runs a job, or a cohort of jobs.", found.processes)
    yield _one("worker_processes_busy", "Processes that are running jobs.", found.busy)


def _efficiency(found: Workforce, efficiency: float | None) -> Iterator[Metric]:
    meaning = "Share of busy worker processes."
    yield _one("worker_utilisation_ratio", meaning, found.utilisation)
    meaning = "Share of successful attempts, of active jobs and jobs that ended in the last hour."
    yield _one("worker_efficiency_ratio", meaning, efficiency)


def _stocks(now: datetime) -> Iterator[Metric]:
    found = count_held(Freshness.of_all(now))
    counts = {
        ("fresh",): found.fresh,
        ("stale",): found.stale - found.never,
        ("never",): found.never,
        ("parked",): found.parked,
    }
    yield _gauge("held_stocks", "Held stocks.", counts, ["state"])
    meaning = "Seconds since the last check of the stalest held stock; 0 if no checked stock is stale."
    yield _one("stale_stock_age_seconds", meaning, found.oldest_age or 0)
    yield _one("coverage_ratio", "Share of held stocks that are fresh.", share(found.fresh, found.all))


def _by_symbol(now: datetime) -> dict[str, dict[str, object]]:
    stocks = held_stocks(Freshness.of_all(now)).values_list("symbol", "state", "checked_at")
    return {symbol: {"state": state, "age": age(checked_at, now)} for symbol, state, checked_at in stocks}


def _sources() -> Iterator[Metric]:
    usages = {(source,): usage_of(source) for source in available_sources()}
    used = {source: usage.used for source, usage in usages.items()}
    yield _gauge("source_requests", "Requests to a source in the last minute.", used, ["source"])
    limits = {source: usage.limit for source, usage in usages.items()}
    yield _gauge("source_requests_limit", "Rate limit of a source, in requests a minute.", limits, ["source"])
    until = {source: usage.pause_until.timestamp() if usage.pause_until else 0 for source, usage in usages.items()}
    meaning = "Time until which a source is paused after too many requests; 0 if it is not paused."
    yield _gauge("source_cooldown_end_timestamp_seconds", meaning, until, ["source"])


def _cache() -> Iterator[Metric]:
    uses = cache.uses_of_last_hour() or {}
    yield _gauge("cache_requests", "Requests to the cache in the last hour, by result.", uses, ["kind", "result"])
    ratios = {(kind,): share(uses.get((kind, "hits"), 0), _all_uses(uses, kind)) for kind in map(str, cache.Kind)}
    yield _gauge("cache_hit_ratio", "Share of the hits among these requests.", ratios, ["kind"])


def _all_uses(uses: Mapping[tuple[str, str], int], kind: str) -> int:
    return sum(count for (of_kind, _result), count in uses.items() if of_kind == kind)


def _outbox(now: datetime) -> Iterator[Metric]:
    outbox = statistics.outbox(now)
    events = {("waiting",): outbox.unpublished, ("set_aside",): outbox.set_aside}
    yield _gauge("outbox_events", "Events not published on MQTT yet, and dead letters.", events, ["state"])
    meaning = "Seconds since the oldest unpublished event; 0 if no event waits."
    yield _one("outbox_oldest_age_seconds", meaning, outbox.oldest_age or 0)


def _signs_of_life(now: datetime) -> Iterator[Metric]:
    signs = signs_of_life(now)
    meaning = "Seconds since the bridge was last seen, or until then if a clock was set back."
    yield _one("bridge_last_seen_age_seconds", meaning, _distance(signs.bridge))
    meaning = (
        "Seconds since beat last recorded its activity (every three minutes), or until then if its clock is ahead."
    )
    yield _one("beat_last_seen_age_seconds", meaning, _distance(signs.beat))


def _distance(age: float | None) -> float | None:
    """The absolute age: a moment in the future must not look like the present."""
    return None if age is None else abs(age)


def _thresholds() -> Metric:
    limits = {(name,): limit for name, limit in settings.JOB_PROCESSOR.monitoring.thresholds}
    return _gauge("threshold", "Limits of monitoring.thresholds, for alert rules.", limits, ["name"])
