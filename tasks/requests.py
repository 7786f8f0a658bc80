"""Asks for work: makes jobs, or joins those that are already on their way."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from market.models import Stock
from tasks.dispatch import dispatch
from tasks.lifecycle import record_created
from tasks.models import Job, JobRequest
from tasks.priority import priority_for, queue_for

FETCH_DAYS = 30
"""Calendar days that an ordinary fetch asks for: about 21 bars, enough to mend a few missed weeks."""

_SUBTYPES = {
    Job.Trigger.USER_LOGIN: "portfolio_priority",
    Job.Trigger.USER_REQUEST: "manual_request",
    Job.Trigger.SCHEDULED_UPDATE: "scheduled_update",
}

# A job that is found in flight can end before it is joined, and leave its place free again.
_ROUNDS = 3


@dataclass
class Requested:
    """What came of a request: jobs that are new, and jobs of others that it joined."""

    created: list[Job] = field(default_factory=list)
    joined: list[Job] = field(default_factory=list)

    def __str__(self) -> str:
        if not self.created and not self.joined:
            return "nothing to fetch"
        parts = []
        if self.created:
            parts.append(f"queued {', '.join(job.symbol for job in self.created)}")
        if self.joined:
            parts.append(f"already on the way: {', '.join(job.symbol for job in self.joined)}")
        return "; ".join(parts)


def request_fetches(stocks: Sequence[Stock], trigger: Job.Trigger, user: User | None = None) -> Requested:
    """Ask for a `stock_fetch` of each stock, to be done in this order. A stock with an active job gets no second one.

    Takes the same number of queries however many stocks there are. The jobs are dispatched when the transaction that
    this is called in commits.
    """
    queue = queue_for(Job.Type.STOCK_FETCH, trigger)
    now = timezone.now()
    wanted = {
        _unique_key(Job.Type.STOCK_FETCH, stock.symbol): Job(
            job_type=Job.Type.STOCK_FETCH,
            subtype=_SUBTYPES.get(trigger, ""),
            trigger=trigger,
            user=user,
            symbol=stock.symbol,
            parameters=_parameters(stock, trigger, now),
            unique_key=_unique_key(Job.Type.STOCK_FETCH, stock.symbol),
            priority=priority_for(trigger, queue),
            queue=queue,
            last_seq=1,
            created_at=now,
        )
        for stock in stocks
    }
    requested = Requested()
    if not wanted:
        return requested
    with transaction.atomic():
        for _round in range(_ROUNDS):
            active = _insert_missing(wanted)
            requested.created += [job for key, job in wanted.items() if key in active and active[key].pk == job.pk]
            requested.joined += [
                active[key] for key, job in wanted.items() if key in active and active[key].pk != job.pk
            ]
            wanted = {key: job for key, job in wanted.items() if key not in active}
            if not wanted:
                break
        record_created(requested.created)
        JobRequest.objects.bulk_create(
            JobRequest(job=job, user=user, trigger=trigger) for job in requested.created + requested.joined
        )
        ids = [job.pk for job in requested.created]
        transaction.on_commit(lambda: dispatch(ids), robust=True)
    return requested


def _insert_missing(wanted: dict[str, Job]) -> dict[str, Job]:
    """Insert the jobs whose key no active job has; the active job for each key."""
    # In key order, so that two requests for the same stocks wait for each other instead of deadlocking.
    Job.objects.bulk_create([wanted[key] for key in sorted(wanted)], ignore_conflicts=True)
    return {job.unique_key: job for job in Job.objects.filter(unique_key__in=wanted, status__in=Job.ACTIVE)}


def _unique_key(job_type: Job.Type, symbol: str) -> str:
    return f"{job_type}:{symbol}"


def _parameters(stock: Stock, trigger: Job.Trigger, now: datetime) -> dict[str, Any]:
    """The predecessor's parameters of a fetch."""
    age = None if stock.checked_at is None else int((now - stock.checked_at).total_seconds() // 60)
    return {
        "symbol": stock.symbol,
        "days": FETCH_DAYS,
        "source": settings.JOB_PROCESSOR.stock_jobs.data_fetch.sources[0],
        "triggered_by": trigger,
        "data_age_minutes": age,
    }
