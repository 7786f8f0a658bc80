"""The limits of sources, for jobs: the share of a source's budget that a job may use, and the requests left."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from django.conf import settings
from django.utils import timezone

from market.jobs.kinds import place_of
from market.sources import limiting
from market.sources.budget import Usage, usages_of
from tasks.limits import Left, Limit
from tasks.models import Job
from tasks.priority import BANDS

MOST_URGENT = 1
"""The priority that may use the whole budget."""


def share_of(queue: str, priority: int) -> float:
    """The share of a source's budget that a job may use. The rest is kept for more urgent jobs."""
    rules = settings.JOB_PROCESSOR.stock_jobs.data_fetch
    if queue != Job.Queue.FOREGROUND:
        return float(rules.background_share)
    return 1.0 if priority == MOST_URGENT else float(rules.foreground_share)


def _find(kind: str, queue: Job.Queue) -> Callable[[int], Left] | None:
    """What the sources of a kind of data allow together, by priority; None without a limit."""
    usages = usages_of(limiting(kind), timezone.now())
    return partial(_left, usages, queue) if usages else None


def _left(usages: Sequence[Usage], queue: Job.Queue, priority: int) -> Left:
    share = share_of(queue, priority)
    a_minute = sum(usage.allowed(share) for usage in usages)
    if requests := sum(usage.left_of(share) for usage in usages):
        return Left(requests, a_minute)
    first = min(usages, key=lambda usage: usage.free_at(share))
    return Left(0, a_minute, first.cause, first.free_at(share))


def requests_left(kind: str, queue: Job.Queue) -> int | None:
    """The requests that the sources of a kind of data leave to a queue; None without a limit."""
    left = _find(kind, queue)
    return None if left is None else left(BANDS[queue][-1]).requests


LIMITS: dict[str, Limit] = {kind: partial(_find, kind) for kind in ("prices", "news", "fundamentals")}
"""The limits of this app's jobs, by the kind of data that a job asks for."""

_ASKED_FOR = {"sentiment": "news", "news": "news", "fundamental": "fundamentals"}


def limit_of_analysis(parameters: Mapping[str, Any]) -> str:
    """The name of the limit of an analysis with these parameters; empty if the analysis asks no source."""
    place = place_of(parameters)
    return _ASKED_FOR.get(place.kind, "") if place else ""
