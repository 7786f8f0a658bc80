"""An owner's "Refresh prices": fetches a stock once in `portfolio.refresh_cooldown` for the same owner."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from market.jobs.requests import fetch_requests
from market.models import Stock
from portfolio.fetching import fetch_stocks
from stockqueue.wording import describe_duration
from tasks.enqueue import EnqueueResult, name_subjects
from tasks.models import JobRequest
from tasks.sql import job_sql


@dataclass(frozen=True)
class Refreshed:
    """The result of a refresh. `recent`: the user's requests within the cooldown whose fetches have ended."""

    requested: EnqueueResult
    recent: Sequence[JobRequest]
    now: datetime
    cooldown: timedelta

    def __str__(self) -> str:
        """The result in sentences for the user."""
        if not self.recent:
            return f"Refresh: {self.requested}."
        if not self.requested.jobs:
            return self._explain("")
        return f"Refresh: {self.requested}. {self._explain(f' of {name_subjects([one.job for one in self.recent])}')}"

    def _explain(self, of_stocks: str) -> str:
        ago = self.now - self.recent[0].created_at
        last = f"The last refresh{of_stocks} was {_seconds(ago)} ago"
        return f"{last}; the next refresh is possible in {_seconds(self.cooldown - ago)}."


def refresh_prices(stocks: Sequence[Stock], user: User) -> Refreshed:
    """Enqueue fetches of the stocks, except stocks that the user has refreshed within the cooldown.

    Refreshes of a user run after each other, so that clicks in several tabs make a single set of jobs.
    """
    cooldown = timedelta(seconds=settings.JOB_PROCESSOR.portfolio.refresh_cooldown)
    with transaction.atomic():
        job_sql().lock(f"refresh of user {user.pk}")
        now = timezone.now()
        last = {one.job.symbol: one for one in fetch_requests(stocks, user, now - cooldown)}
        due = [stock for stock in stocks if stock.symbol not in last]
        requested = fetch_stocks(due, user) if due else EnqueueResult()
    requested.joined += [one.job for one in last.values() if one.job.finished_at is None]
    recent = [one for one in last.values() if one.job.finished_at is not None]
    return Refreshed(requested, sorted(recent, key=lambda one: one.created_at), now, cooldown)


def _seconds(duration: timedelta) -> str:
    """`20 s`, `1 min`: whole seconds, at least one."""
    seconds = max(1, math.ceil(duration.total_seconds()))
    return f"{seconds} s" if seconds < 60 else describe_duration(timedelta(seconds=seconds))
