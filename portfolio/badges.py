"""The state of a holding's price: a badge for each holding."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from django.db.models import Case, F, OuterRef, Subquery, When
from django.db.models.fields.json import KT
from django.db.models.functions import JSONObject
from django.utils import timezone

from market.freshness import Freshness
from market.jobs.requests import ordinary_fetches
from market.models import Stock
from market.sources import CACHED
from tasks.models import Job

_GONE = "No source has known this stock for days. “Refresh prices” tries again."
_UNCONFIRMED = "The newest close differs too much from the close before. It is used once the next session confirms it."


@dataclass(frozen=True)
class Fetch:
    """The newest ordinary fetch of a stock. Backfills and batches do not count: nobody waits for them.

    `error`: why the fetch failed, or fell back to the last good bars.
    """

    status: str
    created_at: datetime
    finished_at: datetime | None
    run_at: datetime | None
    waiting_for: str
    error: str

    @classmethod
    def read(cls, found: Mapping[str, Any] | None) -> "Fetch | None":
        """The fetch in a row of `newest_fetch`; None without a fetch."""
        if found is None:
            return None
        moments = {name: _moment(found[name]) for name in ("created_at", "finished_at", "run_at")}
        return cls(**{**found, **moments, "error": found["error"] or ""})

    @property
    def is_active(self) -> bool:
        return self.finished_at is None


@dataclass(frozen=True)
class Badge:
    """A state as shown: `style` is a class of the style sheet; `at` is the time that the text ends with."""

    style: str
    text: str
    at: datetime | None = None
    title: str = ""


def newest_fetch(symbol: str) -> Subquery:
    """The newest ordinary fetch of the stock, for `Fetch.read`. `symbol` is the path to the symbol from the row."""
    why_old = Case(When(result__source=CACHED, then=KT("result__reason")), default="error")
    fields = {name: F(name) for name in ("status", "created_at", "finished_at", "run_at", "waiting_for")}
    newest = ordinary_fetches(OuterRef(symbol)).order_by("-created_at")
    return Subquery(newest.values(told=JSONObject(**fields, error=why_old))[:1])


def badge_of(stock: Stock, price_date: date | None, fetch: Fetch | None, freshness: Freshness) -> Badge:
    """The most important thing to know about the stock's price. `price_date`: the day of the newest trusted close."""
    if fetch is not None and fetch.is_active:
        return _badge_of_fetch(fetch, freshness.now)
    if stock.status != Stock.Status.ACTIVE:
        return Badge("stale", stock.get_status_display().lower(), title=_GONE)
    if price_date is None:
        return Badge("stale", "no data" if stock.checked_at else "not fetched yet")
    if stock.last_bar_on is not None and stock.last_bar_on > price_date:
        return Badge("stale", "unconfirmed price", title=_UNCONFIRMED)
    if freshness.is_stale(stock):
        return Badge("stale", "stale")
    if closed := freshness.closed_since(stock):
        return Badge("fresh", "market closed", title=f"since {timezone.localtime(closed):%Y-%m-%d %H:%M %Z}")
    return Badge("fresh", "fresh")


def _badge_of_fetch(fetch: Fetch, now: datetime) -> Badge:
    waits = fetch.status == Job.Status.PENDING and fetch.run_at is not None and fetch.run_at > now
    if waits and fetch.waiting_for:
        return Badge("stale", f"waiting for {fetch.waiting_for}, at the latest until", fetch.run_at)
    if waits:
        return Badge("stale", "retrying at", fetch.run_at, title=fetch.error)
    return Badge("updating", "updating…")


def _moment(text: str | None) -> datetime | None:
    """A time in JSON: SQLite's has no time zone, and is in UTC."""
    moment = None if text is None else datetime.fromisoformat(text)
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)
