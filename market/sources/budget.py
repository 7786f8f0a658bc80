"""The rate limit of a source for all processes together, and its pauses."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Sum
from django.db.models.functions import Now
from django.utils import timezone

from market.models import SourceState, SourceUse
from market.sources.base import SourceBusy

WINDOW = timedelta(seconds=62)
"""A minute, and the most by which the delays of two requests to the source may differ."""
LEASE = 1.0
"""Seconds for a process to spend granted requests; unspent requests are lost."""
LONGEST_PAUSE = 86_400.0
"""Seconds; the longest pause of a source, even if the source asks for more."""

_background: ContextVar[bool] = ContextVar("background", default=False)


@contextmanager
def spending(*, background: bool) -> Iterator[None]:
    """Count the block's requests against the share for background work, or against the whole budget."""
    token = _background.set(background)
    try:
        yield
    finally:
        _background.reset(token)


class Budget:
    """The requests a minute to a source, for all processes together; the counts are in the database.

    With a high limit, a process is granted several requests at a time, so that counting does not slow it down.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._label = source.replace("_", " ").title()
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
        limit = limit_of(self._source)
        allowed = allowed_in(limit, background=_background.get())
        with transaction.atomic():
            state = _lock(self._source)
            self._refusals = state.refusals
            if state.cooldown_until and state.cooldown_until > state.now:
                until = state.cooldown_until
                raise SourceBusy(f"{self._label} is paused until {clock(until)}", until)
            SourceUse.objects.filter(source=self._source, granted_at__lte=state.now - WINDOW).delete()
            uses = list(SourceUse.objects.filter(source=self._source).order_by("granted_at"))
            used = sum(use.requests for use in uses)
            if used >= allowed:
                until = _when_free(uses, used - allowed + _worth_waiting_for(allowed)) + WINDOW
                raise SourceBusy(
                    f"{self._label}: rate limit reached ({allowed} of {limit} requests a minute) until {clock(until)}",
                    until,
                )
            granted = min(max(1, limit // 600), allowed - used)
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


def allowed_in(limit: int, *, background: bool) -> int:
    """The part of `limit` that background or foreground work may use before having to wait."""
    share = settings.JOB_PROCESSOR.stock_jobs.data_fetch.background_share if background else 1
    return max(1, int(limit * share))


@dataclass(frozen=True)
class Usage:
    """The requests to a source in the last minute, and the end of its pause; None without a pause."""

    limit: int
    used: int
    pause_until: datetime | None

    @property
    def left(self) -> int:
        return 0 if self.pause_until else max(0, self.limit - self.used)


def usage_of(source: str) -> Usage:
    """The current use of a source's budget."""
    now = timezone.now()
    recent = SourceUse.objects.filter(source=source, granted_at__gt=now - WINDOW)
    pauses = SourceState.objects.filter(pk=source, cooldown_until__gt=now).values_list("cooldown_until", flat=True)
    used = recent.aggregate(used=Sum("requests"))["used"] or 0
    return Usage(limit_of(source), used, pauses.first())


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


def _when_free(uses: list[SourceUse], wanted: int) -> datetime:
    """The time of the grant whose end frees the wanted number of requests."""
    for use in uses:
        wanted -= use.requests
        if wanted <= 0:
            return use.granted_at
    return uses[-1].granted_at


def clock(moment: datetime) -> str:
    """The time of day, for messages."""
    return f"{moment:%H:%M:%S} UTC"
