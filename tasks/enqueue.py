"""Asks for work: makes jobs, or joins those that are already on their way."""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from market.models import Analysis, Stock
from tasks.backfill import Mode, first_source
from tasks.delivery.dispatch import dispatch_after_commit, send_again_after_commit
from tasks.models import Job, JobRequest
from tasks.priority import Factors, in_order, queue_for, rank
from tasks.state import lifecycle
from tasks.state.locks import lock

FETCH_DAYS = 30
"""Calendar days that an ordinary fetch asks for: about 21 bars, enough to mend a few missed weeks."""
INSERTED_TOGETHER = 1_000
"""Jobs of one statement."""
SHOWN = 10
"""Symbols that a message to people names."""

NOTHING_KNOWN = Factors()

_SUBTYPES = {
    Job.Trigger.USER_LOGIN: "portfolio_priority",
    Job.Trigger.USER_REQUEST: "manual_request",
    Job.Trigger.SCHEDULED_UPDATE: "scheduled_update",
}

_RESEARCHED = (Analysis.Kind.FUNDAMENTAL, Analysis.Kind.NEWS)

# A job that is found in flight can end before it is joined, and leave its place free again.
_ROUNDS = 3


@dataclass(frozen=True)
class Wanted:
    """What somebody asks for. `unique_key` is what there is one active job of; `factors` move its priority.

    `retry_of` is the ended job that this one is to do again.
    """

    job_type: Job.Type
    unique_key: str
    symbol: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    factors: Factors = NOTHING_KNOWN
    has_range: bool = False
    retry_of: UUID | None = None

    @property
    def kind(self) -> str:
        """Of an analysis: what it is to find out; else empty."""
        kinds = self.parameters.get("analysis_types") or [""]
        return str(kinds[0])


@dataclass
class Requested:
    """What came of a request: jobs that are new, and jobs of others that it joined."""

    created: list[Job] = field(default_factory=list)
    joined: list[Job] = field(default_factory=list)

    @property
    def jobs(self) -> list[Job]:
        """All of them."""
        return self.created + self.joined

    def __str__(self) -> str:
        if not self.jobs:
            return "nothing to fetch"
        parts = []
        if self.created:
            parts.append(f"queued {name_subjects(self.created)}")
        if self.joined:
            parts.append(f"already on the way: {name_subjects(self.joined)}")
        return "; ".join(parts)


def name_subjects(jobs: Sequence[Job]) -> str:
    """Each subject once, however many jobs are about it."""
    names = list(dict.fromkeys(job.subject for job in jobs))
    more = [f"{len(names) - SHOWN} more"] if len(names) > SHOWN else []
    return ", ".join(names[:SHOWN] + more)


def request_fetches(
    stocks: Sequence[Stock],
    trigger: Job.Trigger,
    user: User | None = None,
    *,
    factors: Mapping[str, Factors] | None = None,
    start: date | None = None,
    end: date | None = None,
    mode: Mode = Mode.UPDATE,
) -> Requested:
    """Ask for a `stock_fetch` of each stock, to be done in this order. A stock with an active job gets no second one.

    `factors`, by symbol, move the priorities. With `start` (and `end`, both included) it is a backfill of these days,
    and `mode` says what becomes of the bars that are there.
    """
    now, source = timezone.now(), first_source()
    return request_jobs(
        [
            Wanted(
                job_type=Job.Type.STOCK_FETCH,
                unique_key=_unique_key(Job.Type.STOCK_FETCH, stock.symbol, start, end, mode),
                symbol=stock.symbol,
                parameters=_fetch_parameters(stock, now, source) | _range(start, end, mode),
                factors=(factors or {}).get(stock.symbol, NOTHING_KNOWN),
                has_range=start is not None,
            )
            for stock in stocks
        ],
        trigger,
        user,
    )


def fetch_requests(stocks: Iterable[Stock], user: User, since: datetime) -> list[JobRequest]:
    """What this user has asked for since that moment: ordinary fetches of these stocks, each request with its job.

    The oldest request is first. A request may have joined a job that is older than the request. That job has ended
    since then or is active, and so the indexes of active and of lately ended jobs find it.
    """
    keys = [_unique_key(Job.Type.STOCK_FETCH, stock.symbol, None, None, Mode.UPDATE) for stock in stocks]
    lately = Q(job__finished_at=None) | Q(job__finished_at__gte=since)
    asked = JobRequest.objects.filter(lately, user=user, trigger=Job.Trigger.USER_REQUEST, created_at__gt=since)
    return list(asked.filter(job__unique_key__in=keys).select_related("job").order_by("created_at"))


def request_analyses(
    stocks: Sequence[Stock],
    trigger: Job.Trigger,
    user: User | None = None,
    *,
    analysis_types: Sequence[Analysis.Kind] = (Analysis.Kind.TECHNICAL,),
    factors: Mapping[str, Factors] | None = None,
) -> Requested:
    """Ask for the job of each stock and kind. Where one is on its way, there is no second one.

    The kinds are done in the order of `analysis_priority`. `factors`, by symbol, move the priorities.
    """
    wanted = [wanted_analysis(stock, kind, factors) for kind in in_order(analysis_types) for stock in stocks]
    return request_jobs(wanted, trigger, user)


def job_type_of(kind: Analysis.Kind) -> Job.Type:
    """Fundamentals and news are researched, and the rest is analysed."""
    return Job.Type.STOCK_RESEARCH if kind in _RESEARCHED else Job.Type.STOCK_ANALYSIS


def wanted_analysis(stock: Stock, kind: Analysis.Kind, factors: Mapping[str, Factors] | None = None) -> Wanted:
    """A job that finds out one kind of thing; `factors`, by symbol, move its priority."""
    job_type = job_type_of(kind)
    return Wanted(
        job_type=job_type,
        unique_key=f"{job_type}:{stock.symbol}:{kind}",
        symbol=stock.symbol,
        parameters={"symbol": stock.symbol, "analysis_types": [kind]},
        factors=(factors or {}).get(stock.symbol, NOTHING_KNOWN),
    )


def request_batches(stocks: Sequence[Stock], trigger: Job.Trigger, user: User | None = None) -> Requested:
    """Ask for `stock_batch_fetch` jobs of `batch_size` stocks each. A stock that is in one already is left to it."""
    size = settings.JOB_PROCESSOR.stock_jobs.data_fetch.batch_size
    with transaction.atomic():
        lock("batches")  # two schedules at once must not both find a stock in no batch
        taken = set(_symbols_in_batches())
        free = [stock.symbol for stock in stocks if stock.symbol not in taken]
        return request_jobs(
            [
                Wanted(
                    job_type=Job.Type.STOCK_BATCH_FETCH,
                    unique_key=_batch_key(symbols),
                    parameters={"symbols": list(symbols), "days": FETCH_DAYS, "source": first_source()},
                )
                for symbols in (free[first : first + size] for first in range(0, len(free), size))
            ],
            trigger,
            user,
        )


def request_jobs(
    wanted: Iterable[Wanted],
    trigger: Job.Trigger,
    user: User | None = None,
    *,
    subtype: str | None = None,
) -> Requested:
    """Make a job for each thing that has no active one, and join those that exist, which take the better priority.

    Takes the same number of queries however many things there are (for each thousand). The jobs are dispatched when
    the transaction that this is called in commits. Of several things with one key, the last one counts.
    """
    now = timezone.now()
    jobs: dict[str, Job] = {}
    for number, thing in enumerate(wanted):
        queue = queue_for(thing.job_type, trigger, has_range=thing.has_range)
        ranked = rank(trigger, queue, thing.factors, kind=thing.kind)
        jobs[thing.unique_key] = Job(
            job_type=thing.job_type,
            subtype=(thing.kind or _SUBTYPES.get(trigger, "")) if subtype is None else subtype,
            trigger=trigger,
            user_id=None if user is None else user.pk,  # unlike `user`, it costs nothing to set
            symbol=thing.symbol,
            parameters=dict(thing.parameters) | {"triggered_by": trigger},
            unique_key=thing.unique_key,
            priority=ranked.priority,
            priority_reason=ranked.reason,
            queue=queue,
            retry_of_id=thing.retry_of,
            last_seq=1,
            # Jobs of one request keep their order: the oldest goes first.
            created_at=now + timedelta(microseconds=number),
        )
    requested = Requested()
    keys = list(jobs)
    for first in range(0, len(keys), INSERTED_TOGETHER):
        part = {key: jobs[key] for key in keys[first : first + INSERTED_TOGETHER]}
        for left in reversed(range(_ROUNDS)):
            with transaction.atomic():
                came = _create_or_join(part)
                if left and len(came.jobs) < len(part):
                    # Inserted behind the others, what is missed would not be in order any more: all are tried anew.
                    transaction.set_rollback(True)
                    continue
                if came.joined:
                    _join(came.joined, part, trigger, user)
                dispatch_after_commit(job.queue for job in (*part.values(), *came.joined))
            break
        requested.created += came.created
        requested.joined += came.joined
    return requested


def _create_or_join(wanted: Mapping[str, Job]) -> Requested:
    """The jobs that are new and the active ones of the other keys; none for a key whose job has just ended."""
    # In key order, so that two requests for the same stocks wait for each other instead of deadlocking.
    created = lifecycle.create([wanted[key] for key in sorted(wanted)])
    if len(created) == len(wanted):
        return Requested(created=list(wanted.values()))
    active = _active([key for key, job in wanted.items() if job.pk not in created])
    found = Job.objects.in_bulk(list(active.values()))
    return Requested(
        created=[job for job in wanted.values() if job.pk in created],
        joined=[found[active[key]] for key in wanted if key in active],
    )


def _join(joined: Sequence[Job], wanted: Mapping[str, Job], trigger: Job.Trigger, user: User | None) -> None:
    JobRequest.objects.bulk_create(JobRequest(job=job, user=user, trigger=trigger) for job in joined)
    _promote(joined, wanted)


def _active(keys: Collection[str]) -> dict[str, UUID]:
    """The id of the active job for each key that has one."""
    active = Job.objects.active().filter(unique_key__in=keys)
    return dict(active.values_list("unique_key", "pk"))


def _promote(joined: Sequence[Job], wanted: Mapping[str, Job]) -> None:
    """Give waiting jobs the priority of this request where it is the better one."""
    reasons: dict[tuple[int, Job.Queue], dict[UUID, dict[str, Any]]] = {}
    for job in joined:
        asked = wanted[job.unique_key]
        if job.status in Job.WAITING and asked.priority < job.priority:
            reasons.setdefault((asked.priority, Job.Queue(asked.queue)), {})[job.pk] = asked.priority_reason
    if reasons:
        lifecycle.lock_rows([job_id for group in reasons.values() for job_id in group])
    for (priority, queue), group in reasons.items():
        send_again_after_commit(lifecycle.promote(group, priority, queue))


def _unique_key(job_type: Job.Type, symbol: str, start: date | None, end: date | None, mode: Mode) -> str:
    days = [] if start is None else [str(start), str(end or "")]
    return ":".join([job_type, symbol, *days, *([] if mode == Mode.UPDATE else [mode])])


def _batch_key(symbols: Iterable[str]) -> str:
    digest = hashlib.sha256(" ".join(symbols).encode()).hexdigest()
    return f"{Job.Type.STOCK_BATCH_FETCH}:{digest}"


def _symbols_in_batches() -> Iterable[str]:
    """The symbols of batches that are on their way."""
    active = Job.objects.active().filter(job_type=Job.Type.STOCK_BATCH_FETCH)
    return (symbol for parameters in active.values_list("parameters", flat=True) for symbol in parameters["symbols"])


def _fetch_parameters(stock: Stock, now: datetime, source: str) -> dict[str, Any]:
    """The predecessor's parameters of a fetch."""
    age = None if stock.checked_at is None else int((now - stock.checked_at).total_seconds() // 60)
    return {
        "symbol": stock.symbol,
        "days": FETCH_DAYS,
        "source": source,
        "data_age_minutes": age,
    }


def _range(start: date | None, end: date | None, mode: Mode) -> dict[str, Any]:
    if start is None:
        return {}
    last = end or timezone.now().date()
    days = {"start": start.isoformat(), "end": last.isoformat(), "days": (last - start).days + 1}
    return days if mode == Mode.UPDATE else days | {"mode": mode}
