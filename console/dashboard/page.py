"""The figures of the page "Stock data", collected at each request, each with a link to a list."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count
from django.utils import timezone

from console.dashboard import links
from console.dashboard.links import Figure
from console.dashboard.status_lights import BAD, Light, direct_processing, lights
from console.dashboard.tracked_stocks import TrackedStock, most_tracked
from market.freshness import Freshness
from market.models import Stock
from operations.models import Alert
from operations.monitoring import last_hour, statistics
from operations.monitoring.health import Readiness
from operations.monitoring.holdings_freshness import HeldStocks, PortfolioCoverage, StaleStock, count_held, coverage_of
from operations.monitoring.instant_logins import count_logins
from operations.monitoring.last_hour import FRESH, HOUR, INCOMPLETE, WAITING
from operations.monitoring.query_plans import plain_plans
from operations.monitoring.ratios import age, share
from operations.monitoring.statistics import A_DAY, ActiveJobs, FailureReason
from operations.monitoring.warmth import count_warm, warm_requests
from operations.monitoring.workers import WorkerUse, worker_use, workforce
from stockqueue.wording import describe_duration
from tasks.models import Job, Worker

PACE = timedelta(minutes=5)
"""How far back the pace of a queue is measured."""

_AGES = ("under 5 minutes", "5 to 30 minutes", "30 to 60 minutes", "1 to 6 hours", "6 to 24 hours", "1 to 7 days")
"""Names of the bands of the histogram, each up to one of `operations.monitoring.holdings_freshness.AGES`."""
_OLDER = "over 7 days"
"""The name of the last band, without an upper limit."""


@dataclass(frozen=True)
class Bar:
    """A row of a bar chart; `shares` are the lengths of its parts, in per cent of the longest bar."""

    label: str
    figures: Sequence[Figure]
    shares: Sequence[float]


@dataclass(frozen=True)
class QueueCard:
    """A queue; `empty` tells when the last waiting job will have ended."""

    queue: str
    bars: Sequence[Bar]
    waiting: Figure
    oldest: Figure | None
    empty: Figure
    ended: Figure


@dataclass(frozen=True)
class WorkerRow:
    """A worker, or a process with direct processing (empty `state`). A gone worker may be `replaced`.

    `use` and `efficiency` are None if unknown.
    """

    worker: Figure
    state: str
    running: Figure
    use: Figure | None
    jobs_per_minute: Figure
    efficiency: Figure | None


@dataclass(frozen=True)
class LoginTimes:
    """The results of the last hour's logins; `seconds` has the median and the 95th percentile."""

    results: Sequence[tuple[str, Figure]]
    seconds: Sequence[tuple[str, Figure]]


@dataclass(frozen=True)
class Warmth:
    """How well stocks are kept warm; `instant_logins` is None without a login in the last day."""

    fresh: Figure
    requests: Figure
    instant_logins: Figure | None


@dataclass(frozen=True)
class WorstStock:
    symbol: Figure
    age: Figure


@dataclass(frozen=True)
class CoverageRow:
    user: str
    portfolio: Figure
    fresh: Figure
    share: float


@dataclass(frozen=True)
class FailureRow:
    jobs: Figure
    status: str
    reason: str


@dataclass(frozen=True)
class AlertRow:
    text: Figure
    since: datetime
    looked_after_by: str


@dataclass(frozen=True)
class Page:
    """All figures at the time `at`. A screen reader speaks each new `summary`."""

    at: datetime
    summary: str
    banner: str
    banner_jobs: Figure | None
    alerts: Sequence[AlertRow]
    alert_count: Figure
    lights: Sequence[Light]
    queues: Sequence[QueueCard]
    workers: Sequence[WorkerRow]
    workforce: Sequence[tuple[str, Figure]]
    logins: LoginTimes
    warmth: Warmth
    stock_states: Sequence[tuple[str, Figure]]
    ages: Sequence[Bar]
    worst_stocks: Sequence[WorstStock]
    share_covered: Figure
    covered: Figure
    coverage: Sequence[CoverageRow]
    all_tracked: Figure
    tracked: Sequence[TrackedStock]
    failures: Sequence[FailureRow]


def collect(readiness: Readiness) -> Page:
    """Collect all figures; the number of queries does not depend on the number of rows."""
    with plain_plans():
        return _collect(readiness, timezone.now())


def _collect(readiness: Readiness, now: datetime) -> Page:
    rule, active, ended = Freshness.of_all(now), statistics.active_jobs(), last_hour.ended(now)
    uses = worker_use(ended, now)
    found = list(lights(readiness, now))
    banner, banner_jobs = direct_processing(readiness, uses)
    alerts = list(Alert.objects.filter(state=Alert.State.RAISED).select_related("acknowledged_by"))
    held = count_held(rule)
    coverage = coverage_of(rule)
    return Page(
        at=now,
        summary=_summary(banner, found, alerts),
        banner=banner,
        banner_jobs=banner_jobs,
        alerts=[_alert(alert) for alert in alerts],
        alert_count=Figure(str(len(alerts)), links.alerts(state__exact=Alert.State.RAISED)),
        lights=found,
        queues=_queues(active, now),
        workers=[_worker(use, now) for use in uses],
        workforce=list(_workforce(ended, active, now)),
        logins=_logins(now),
        warmth=_warmth(rule),
        stock_states=[
            (words, Figure(str(count), links.stocks(held=state)))
            for words, state, count in (
                ("fresh", "fresh", held.fresh),
                ("stale", "stale", held.stale - held.never),
                ("never checked", "never", held.never),
                ("parked", "parked", held.parked),
            )
        ],
        ages=_ages(held, now),
        worst_stocks=[_stale(one) for one in held.worst],
        share_covered=Figure(_per_cent(share(held.fresh, held.all)), links.stocks(held="fresh")),
        covered=Figure(f"{coverage.fresh} of {coverage.holdings}", links.holdings()),
        coverage=[_covered(one) for one in coverage.worst],
        all_tracked=Figure("All scores", links.priorities(is_active__exact=1)),
        tracked=most_tracked(now),
        failures=[_failed(one, now) for one in statistics.failures(now)],
    )


def _queues(active: ActiveJobs, now: datetime) -> list[QueueCard]:
    depths = active.depths()
    longest = max((one.pending + one.queued + one.running for one in depths), default=0)
    since = now - PACE
    ended = dict(Job.objects.ended_since(since).order_by().values_list("queue").annotate(jobs=Count("pk")))
    return [
        QueueCard(
            queue=queue,
            bars=[_depth(one, longest) for one in depths if one.queue == queue],
            waiting=Figure(str(waiting), _waiting(queue)),
            oldest=None
            if oldest is None
            else Figure(_age(age(oldest, now)), _waiting(queue, created_at__lte=oldest.isoformat())),
            empty=Figure(_empty(waiting, ended.get(queue, 0)), _waiting(queue)),
            ended=Figure(str(ended.get(queue, 0)), links.ended_jobs(since, queue__exact=queue)),
        )
        for queue, (waiting, oldest) in active.waiting().items()
    ]


def _depth(depth: statistics.Depth, longest: int) -> Bar:
    counts = {str(status): getattr(depth, status) for status in Job.ACTIVE}
    return Bar(
        label=str(depth.priority),
        figures=[
            Figure(
                str(count),
                links.active_jobs(queue__exact=depth.queue, priority__exact=depth.priority, status__exact=status),
            )
            for status, count in counts.items()
        ],
        shares=[_share(count, longest) for count in counts.values()],
    )


def _waiting(queue: str, **lookups: object) -> str:
    return links.active_jobs(queue__exact=queue, status__in=",".join(Job.WAITING), **lookups)


def _empty(waiting: int, ended: int) -> str:
    """The time until no job waits, at the recent pace and without new jobs."""
    if not waiting:
        return "now"
    if not ended:
        return "unknown"
    return f"in about {describe_duration(waiting / ended * PACE)}"


def _worker(use: WorkerUse, now: datetime) -> WorkerRow:
    ended = links.ended_jobs(now - HOUR, worker_id__exact=use.worker_id)
    of = "" if use.concurrency is None else f" of {use.concurrency}"
    running = links.active_jobs(worker_id__exact=use.worker_id, status__exact=Job.Status.RUNNING)
    is_there = use.state == Worker.State.ALIVE and use.concurrency
    return WorkerRow(
        worker=Figure(use.worker_id, links.workers(worker_id__exact=use.worker_id) if use.state else running),
        state="replaced" if use.was_replaced else use.state,
        running=Figure(f"{use.running}{of}", running),
        use=Figure(_per_cent(share(use.running, use.concurrency or 0)), running) if is_there else None,
        jobs_per_minute=Figure(f"{use.jobs_per_minute:g}", ended),
        efficiency=None if use.efficiency is None else Figure(_per_cent(use.efficiency), ended),
    )


def _workforce(ended: Iterable[last_hour.Ended], active: ActiveJobs, now: datetime) -> Iterator[tuple[str, Figure]]:
    force = workforce()
    alive = links.workers(state=Worker.State.ALIVE)
    efficiency = last_hour.efficiency(ended, active.failures)
    yield "alive", Figure(str(force.alive), alive)
    yield "gone", Figure(str(force.gone), links.workers(state="missing"))
    yield "processes busy", Figure(f"{force.busy} of {force.processes}", alive)
    yield "utilisation", Figure(_per_cent(force.utilisation), alive)
    yield "efficiency", Figure(_per_cent(efficiency), links.ended_jobs(now - HOUR))


def _logins(now: datetime) -> LoginTimes:
    found = last_hour.logins(now)
    links_of = {result: links.job_requests(login=result) for result in (FRESH, INCOMPLETE, WAITING)}
    results = [(result, Figure(str(getattr(found, result)), link)) for result, link in links_of.items()]
    if found.seconds is None:
        return LoginTimes(results if found.incomplete or found.waiting else [], [])
    times = (("median", found.seconds.p50), ("95th percentile", found.seconds.p95))
    return LoginTimes(results, [(words, Figure(_age(seconds), links_of[FRESH])) for words, seconds in times])


def _warmth(rule: Freshness) -> Warmth:
    stocks, logins = count_warm(rule), count_logins(rule.now)
    batches = links.ended_jobs(
        rule.now - HOUR, job_type__exact=Job.Type.STOCK_BATCH_FETCH, parameters__has_key="ahead"
    )
    return Warmth(
        fresh=Figure(f"{stocks.fresh} of {stocks.all}", links.stocks(held="warm", status__exact=Stock.Status.ACTIVE)),
        requests=Figure(str(warm_requests(rule.now)), batches),
        instant_logins=Figure(f"{_per_cent(logins.share)} of {logins.all}") if logins.all else None,
    )


def _ages(held: HeldStocks, now: datetime) -> list[Bar]:
    """Counts of held stocks by the age of their last check, without parked stocks."""
    counted = [("never", held.never, links.stocks(held="never"))]
    younger: dict[str, object] = {}
    before = 0
    for label, (seconds, within) in zip(_AGES, held.checked_within.items(), strict=True):
        moment = (now - timedelta(seconds=seconds)).isoformat()
        counted.append((label, within - before, _checked(checked_at__gt=moment, **younger)))
        younger, before = {"checked_at__lte": moment}, within
    counted.append((_OLDER, held.fresh + held.stale - held.never - before, _checked(**younger)))
    longest = max(count for _, count, _ in counted)
    return [Bar(label, [Figure(str(count), link)], [_share(count, longest)]) for label, count, link in counted]


def _checked(**lookups: object) -> str:
    return links.stocks(held="any", status__exact=Stock.Status.ACTIVE, **lookups)


def _covered(one: PortfolioCoverage) -> CoverageRow:
    holdings = links.holdings(portfolio__id__exact=one.portfolio_id)
    fresh = Figure(f"{one.fresh} of {one.holdings}", holdings)
    return CoverageRow(one.user, Figure(one.portfolio, holdings), fresh, round(100 * one.share, 1))


def _failed(one: FailureReason, now: datetime) -> FailureRow:
    link = links.ended_jobs(now - A_DAY, status__exact=one.status, reason=one.reason)
    return FailureRow(Figure(str(one.jobs), link), one.status, one.reason)


def _stale(one: StaleStock) -> WorstStock:
    link = links.stocks(symbol__exact=one.symbol)
    checked = "never checked" if one.age is None else f"{_age(one.age)} ago"
    return WorstStock(Figure(one.symbol, link), Figure(checked, link))


def _alert(alert: Alert) -> AlertRow:
    by = "" if alert.acknowledged_by is None else alert.acknowledged_by.get_username()
    return AlertRow(Figure(alert.text, links.alerts(id__exact=alert.pk)), alert.since, by)


def _summary(banner: str, found: Iterable[Light], alerts: Iterable[Alert]) -> str:
    """The state in words, without ages, because the text would otherwise change all the time."""
    out_of_order, names = [one.name for one in found if one.state == BAD], [alert.name for alert in alerts]
    parts = [
        banner,
        f"Out of order: {', '.join(out_of_order)}." if out_of_order else "",
        f"Open alerts: {', '.join(names)}." if names else "No open alerts.",
    ]
    return " ".join(filter(None, parts))


def _share(part: int, whole: int) -> float:
    """Share in per cent; 0 if `whole` is 0."""
    return round(100 * (share(part, whole) or 0), 1)


def _per_cent(part: float | None) -> str:
    return "no data" if part is None else f"{part:.0%}"


def _age(seconds: float | None) -> str:
    return "" if seconds is None else describe_duration(timedelta(seconds=seconds))
