"""How many requests a source is sent, by all processes together, and when it asked to be left alone."""

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
"""A minute, and the time by which one request may be longer on its way to the source than another."""
LEASE = 1.0
"""Seconds in which a process spends what it was granted; the rest is lost."""
LONGEST_PAUSE = 86_400.0
"""Seconds; no source is left alone for longer than that, whatever it asks for."""

_background: ContextVar[bool] = ContextVar("background", default=False)


@contextmanager
def spending(*, background: bool) -> Iterator[None]:
    """In this block requests come out of the share for work that nobody waits for, or out of the whole."""
    token = _background.set(background)
    try:
        yield
    finally:
        _background.reset(token)


class Budget:
    """One source's requests a minute, which all processes share; the counts are in the database.

    A process is granted a few at a time where the limit is high, so that counting does not slow it down.
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
                return  # one of several that were refused together
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
                raise SourceBusy(f"{self._label} asked for a pause until {clock(until)}", until)
            SourceUse.objects.filter(source=self._source, granted_at__lte=state.now - WINDOW).delete()
            uses = list(SourceUse.objects.filter(source=self._source).order_by("granted_at"))
            used = sum(use.requests for use in uses)
            if used >= allowed:
                until = _when_free(uses, used - allowed + _worth_waiting_for(allowed)) + WINDOW
                raise SourceBusy(
                    f"{self._label}: {allowed} of {limit} requests a minute are used up until {clock(until)}", until
                )
            granted = min(max(1, limit // 600), allowed - used)
            SourceUse.objects.create(source=self._source, granted_at=state.now, requests=granted)
            return granted


def pause_after(refusals: int, retry_after: float | None) -> timedelta:
    """How long to leave a source alone that has refused, as it had so many times before; it may have said how long."""
    delays = settings.JOB_PROCESSOR.stock_jobs.data_fetch.cooldown
    seconds = delays[min(refusals, len(delays) - 1)] if retry_after is None else retry_after
    return timedelta(seconds=min(seconds, LONGEST_PAUSE))


def limit_of(source: str) -> int:
    """Requests a minute that a source is sent at most."""
    limit: int = settings.JOB_PROCESSOR.stock_jobs.data_fetch.rate_limit
    own = getattr(settings.JOB_PROCESSOR.integration.apis, source, None)
    return limit if own is None else min(limit, int(own.rate_limit))


def allowed_in(limit: int, *, background: bool) -> int:
    """How many of them may be used before this kind of work has to wait."""
    share = settings.JOB_PROCESSOR.stock_jobs.data_fetch.background_share if background else 1
    return max(1, int(limit * share))


@dataclass(frozen=True)
class Usage:
    """What a source was sent in the last minute, and until when it is left alone; None where it is not."""

    limit: int
    used: int
    pause_until: datetime | None

    @property
    def left(self) -> int:
        return 0 if self.pause_until else max(0, self.limit - self.used)


def usage_of(source: str) -> Usage:
    """How a source's budget stands now."""
    now = timezone.now()
    recent = SourceUse.objects.filter(source=source, granted_at__gt=now - WINDOW)
    pauses = SourceState.objects.filter(pk=source, cooldown_until__gt=now).values_list("cooldown_until", flat=True)
    used = recent.aggregate(used=Sum("requests"))["used"] or 0
    return Usage(limit_of(source), used, pauses.first())


def _lock(source: str) -> Any:
    """The source's row, locked until the commit, with the database's time as `now`: the same for all machines."""
    states = SourceState.objects.annotate(now=Now())
    state = states.select_for_update().filter(pk=source).first()
    if state is None:
        SourceState.objects.bulk_create([SourceState(source=source)], ignore_conflicts=True)
        state = states.select_for_update().get(pk=source)
    return state


def _worth_waiting_for(allowed: int) -> int:
    """Requests that are free before anybody comes back: a quarter, so that jobs do not return for each single one."""
    return max(1, min(allowed, max(2, allowed // 4)))


def _when_free(uses: list[SourceUse], wanted: int) -> datetime:
    """When the use was granted with whose end so many requests are free again."""
    for use in uses:
        wanted -= use.requests
        if wanted <= 0:
            return use.granted_at
    return uses[-1].granted_at


def clock(moment: datetime) -> str:
    """The time of day, for messages."""
    return f"{moment:%H:%M:%S} UTC"
