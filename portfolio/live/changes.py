"""Changes for open pages: the symbols of new events, and the stocks that a page may have missed."""

import time
from collections.abc import Collection, Iterable
from datetime import datetime

from django.contrib.auth.models import User
from django.db.models import Exists, OuterRef, Q

from market.exchange_rates import rate_symbols
from market.models import Stock
from portfolio.models import Preferences
from tasks.models import Job, JobEvent

VISIBLE = [
    *(JobEvent.Event.CREATED, JobEvent.Event.PROGRESS),
    *(JobEvent.Event.COMPLETED, JobEvent.Event.FAILED, JobEvent.Event.EXPIRED, JobEvent.Event.CANCELLED),
]
"""The events that pages show. After any other event, an active job is still active."""
MOST_GAPS = 1_000
"""The most missing ids to look for; of more, the newest."""
GIVEN_UP = 60.0
"""Seconds after which a missing id is given up: its transaction was rolled back."""


class NewEvents:
    """Reads each event once, whatever order they are committed in.

    PostgreSQL gives ids before the commit, so an id may appear after a higher one. Missing ids are therefore looked
    for in the next reads. SQLite has one writer at a time, and no gaps.
    """

    def __init__(self) -> None:
        newest = sorted(JobEvent.objects.order_by("-id").values_list("id", flat=True)[:MOST_GAPS])
        self._last = newest[0] if newest else 0
        self._gaps: dict[int, float] = {}
        self._changed: dict[str, bool] = {}
        self._note(newest)

    def read(self) -> dict[str, bool]:
        """The symbols of visible events that were committed since `done`; True: the price may have changed."""
        news = JobEvent.objects.filter(Q(id__gt=self._last) | Q(id__in=list(self._gaps)))
        rows = list(news.order_by("id").values_list("id", "event", "job__symbol", "job__parameters"))
        self._note(row[0] for row in rows)
        for _, event, symbol, parameters in rows:
            if event in VISIBLE:
                for one in [symbol] if symbol else parameters.get("symbols", []):
                    self._changed[one] = self._changed.get(one, False) or event != JobEvent.Event.CREATED
        return dict(self._changed)

    def done(self) -> None:
        """Forget what was read, after pages have been sent the changes; an error before leads to another attempt."""
        self._changed.clear()

    def _note(self, ids: Iterable[int]) -> None:
        """Remember the newest id, and the ids that are still missing below it."""
        now = time.monotonic()
        for new in ids:
            self._gaps.pop(new, None)
            if new > self._last:
                missing = range(max(self._last + 1, new - MOST_GAPS), new)
                self._gaps |= dict.fromkeys(missing, now + GIVEN_UP)
                self._last = new
        newest = list(self._gaps.items())[-MOST_GAPS:]
        self._gaps = {gap: until for gap, until in newest if until > now}


def shown_symbols(user: User) -> frozenset[str]:
    """The symbols of the user's stocks, and of the exchange rates in their totals."""
    held = dict(Stock.objects.filter(holdings__portfolio__user=user).values_list("symbol", "currency"))
    return frozenset([*held, *rate_symbols([*held.values(), Preferences.of(user).currency])])


def changed_since(moment: datetime, symbols: Collection[str]) -> set[str]:
    """The symbols whose stocks were checked, changed or requested at this moment or later."""
    jobs = Job.objects.filter(Q(created_at__gte=moment) | Q(finished_at__gte=moment), symbol=OuterRef("symbol"))
    changed = Q(checked_at__gte=moment) | Q(bars_changed_at__gte=moment) | Exists(jobs)
    return set(Stock.objects.filter(changed, symbol__in=symbols).values_list("symbol", flat=True))
