"""The rate limit of a source for all processes together, and its pauses."""

import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from market.models import SourceState, SourceUse
from market.sources.base import SourceBusy
from market.sql import market_sql

WINDOW = timedelta(seconds=62)
"""A minute, and the most by which the delays of two requests to the source may differ."""
LEASE = 1.0
"""Seconds for a process to spend granted requests; unspent requests are lost."""
LONGEST_PAUSE = 86_400.0
"""Seconds; the longest pause of a source, even if the source asks for more."""

_share: ContextVar[float] = ContextVar("share", default=1.0)


@contextmanager
def spending(share: float) -> Iterator[None]:
    """Let the block's requests use up to this share of the budget; the rest is kept for more urgent work."""
    token = _share.set(share)
    try:
        yield
    finally:
        _share.reset(token)


class Budget:
    """The requests a minute to a source, for all processes together; the counts are in the database.

    With a high limit, a process is granted several requests at a time, so that counting does not slow it down.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._granted = 0
        self._granted_until = 0.0
        self._refusals = 0

    def spend(self) -> None:
        with self._lock:
            if self._granted < 1 or time.monotonic() > self._granted_until:
                self._granted = self._take()
                self._granted_until = time.monotonic() + LEASE
            self._granted -= 1

    def note_refusal(self, retry_after: float | None) -> None:
        with self._lock, transaction.atomic():
            self._granted = 0
            state = _lock(self._source)
            if state.cooldown_until and state.cooldown_until > state.now:
                return  # another request of the same refusal has started the pause
            state.cooldown_until = state.now + pause_after(state.refusals, retry_after)
            state.refusals += 1
            state.save(update_fields=["cooldown_until", "refusals"])

    def note_answer(self) -> None:
        if self._refusals:
            self._refusals = 0
            SourceState.objects.filter(pk=self._source).update(refusals=0)

    def _take(self) -> int:
        share = _share.get()
        with transaction.atomic():
            state = _lock(self._source)
            self._refusals = state.refusals
            SourceUse.objects.filter(source=self._source, granted_at__lte=state.now - WINDOW).delete()
            (usage,) = usages_of([self._source], state.now)
            left = usage.left_of(share)
            if not left:
                raise SourceBusy(usage.explain(share), usage.free_at(share), usage.cause)
            granted = min(max(1, usage.limit // 600), left)
            SourceUse.objects.create(source=self._source, granted_at=state.now, requests=granted)
            return granted


def pause_after(refusals: int, retry_after: float | None) -> timedelta:
    """The pause of a source after a refusal, with `refusals` before it; `retry_after` is the source's own wish."""
    delays = settings.JOB_PROCESSOR.stock_jobs.data_fetch.cooldown
    seconds = delays[min(refusals, len(delays) - 1)] if retry_after is None else retry_after
    return timedelta(seconds=min(seconds, LONGEST_PAUSE))


def limit_of(source: str) -> int:
    """The most requests a minute to a source."""
    limit: int = settings.JOB_PROCESSOR.stock_jobs.data_fetch.rate_limit
    own = getattr(settings.JOB_PROCESSOR.integration.apis, source, None)
    return limit if own is None else min(limit, int(own.rate_limit))


def allowed_in(limit: int, share: float) -> int:
    """The requests of a share of `limit`, at least one."""
    return max(1, int(limit * share))


@dataclass(frozen=True)
class Usage:
    """The requests granted to a source in the minute before `at`, and the end of its pause; None without a pause."""

    source: str
    at: datetime
    limit: int
    used: int
    pause_until: datetime | None

    @property
    def left(self) -> int:
        return self.left_of(1.0)

    @property
    def cause(self) -> str:
        """What work without any request left waits for."""
        return f"the end of {self._label}'s pause" if self.pause_until else f"{self._label}'s rate limit"

    @property
    def _label(self) -> str:
        return self.source.replace("_", " ").title()

    def allowed(self, share: float) -> int:
        """The requests a minute of work that may use this share of the budget."""
        return allowed_in(self.limit, share)

    def left_of(self, share: float) -> int:
        """The requests left to work that may use this share of the budget."""
        return 0 if self.pause_until else max(0, self.allowed(share) - self.used)

    def free_at(self, share: float) -> datetime:
        """When to try again, if no request of this share is left."""
        if self.pause_until:
            return self.pause_until
        allowed = self.allowed(share)
        wanted = self.used - allowed + _worth_waiting_for(allowed)
        grants = _recent_grants([self.source], self.at).order_by("granted_at")
        return _when_free(grants.values_list("granted_at", "requests"), wanted, self.at)

    def explain(self, share: float) -> str:
        """Why nothing is left of a share, and until when."""
        if self.pause_until:
            return f"{self._label} is paused until {clock(self.pause_until)}"
        used = f"{self.allowed(share)} of {self.limit} requests a minute"
        return f"{self._label}: rate limit reached ({used}) until {clock(self.free_at(share))}"


def usage_of(source: str) -> Usage:
    """The current use of a source's budget."""
    return usages_of([source], timezone.now())[0]


def usages_of(sources: Sequence[str], now: datetime) -> list[Usage]:
    """The use of the budgets of sources, with one query."""
    until: dict[str, datetime] = {}
    used: Counter[str] = Counter()
    for source, end, requests in market_sql().usages(sources, now, now - WINDOW) if sources else ():
        used[source] += requests
        if end is not None:
            until[source] = end
    return [Usage(source, now, limit_of(source), used[source], until.get(source)) for source in sources]


def _recent_grants(sources: Sequence[str], now: datetime) -> QuerySet[SourceUse]:
    return SourceUse.objects.filter(source__in=sources, granted_at__gt=now - WINDOW).order_by()


def _lock(source: str) -> Any:
    """The source's row, locked until the commit. `now` is the database's time: the same for all machines."""
    states = SourceState.objects.annotate(now=Now())
    state = states.select_for_update().filter(pk=source).first()
    if state is None:
        SourceState.objects.bulk_create([SourceState(source=source)], ignore_conflicts=True)
        state = states.select_for_update().get(pk=source)
    return state


def _worth_waiting_for(allowed: int) -> int:
    """Free requests that end a wait: a quarter of the budget, so that jobs do not return for every single request."""
    return max(1, min(allowed, max(2, allowed // 4)))


def _when_free(grants: Iterable[tuple[datetime, int]], wanted: int, now: datetime) -> datetime:
    """When the grants that end first free the wanted number of requests."""
    end = now
    for granted_at, requests in grants:
        end = granted_at + WINDOW
        wanted -= requests
        if wanted <= 0:
            break
    return end


def clock(moment: datetime) -> str:
    """The time of day, for messages."""
    return f"{moment:%H:%M:%S} UTC"
