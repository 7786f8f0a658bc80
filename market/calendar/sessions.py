"""When exchanges trade: their sessions, stored in the database.

exchange_calendars knows the sessions, and importing it imports pandas. So processes that fetch, and have pandas
loaded, write the sessions. Web servers avoid pandas, and read the sessions from the database.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple, Self
from zoneinfo import ZoneInfo

from django.db.models import Max, Min, Q
from django.utils import timezone
from django.utils.module_loading import import_string

from market.calendar.exchanges import Exchange, exchange_of
from market.models import Stock, TradingSession

AHEAD = timedelta(days=120)
"""How far into the future sessions are stored."""
RENEWED_BEFORE = timedelta(days=90)
"""More sessions are added when the stored sessions end within this time."""
CHECKED_LATELY = timedelta(days=2)
"""The age of a stock's check up to which its exchange is in use."""
BEHIND = timedelta(days=15)
"""The longest time that an exchange stays closed."""


@dataclass(frozen=True)
class Market:
    """An exchange at one moment: `closed_since` is None during a session, `opens_at` the start of the next session."""

    closed_since: datetime | None
    opens_at: datetime


def day_of_session(exchange: Exchange, closes_at: datetime) -> date:
    """The day of the bar of a session. A session that lasts until midnight is of the day that ends."""
    return (closes_at - timedelta.resolution).astimezone(ZoneInfo(exchange.timezone)).date()


def markets_at(now: datetime, calendars: Iterable[str]) -> dict[str, Market]:
    """The state of exchanges at a moment, by calendar, in one query; exchanges without known sessions are left out."""
    asked = set(calendars)
    if not asked:
        return {}
    found = (
        TradingSession.objects.filter(calendar__in=asked, opens_at__gt=now - BEHIND, opens_at__lt=now + BEHIND)
        .order_by()
        .values_list("calendar")
        .annotate(
            last_close=Max("closes_at", filter=Q(opens_at__lte=now)),
            next_open=Min("opens_at", filter=Q(opens_at__gt=now)),
        )
    )
    return {
        calendar: Market(last_close if last_close <= now else None, next_open)
        for calendar, last_close, next_open in found
        if last_close and next_open  # else the session before or after is not stored
    }


class LatestSessions(NamedTuple):
    """The days of an exchange's last session that has begun, and of the last that has ended."""

    begun: date
    ended: date


def latest_sessions(now: datetime, exchanges: Iterable[str]) -> dict[str, LatestSessions]:
    """The latest sessions by exchange, in a single query (none if no exchange has a calendar).

    Without known sessions, yesterday counts as the last session. An exchange that never closes has a session each day.
    """
    found = {code: exchange_of(code) for code in exchanges}
    calendars = {exchange.calendar for exchange in found.values() if exchange.calendar}
    closes = _latest_closes(now, calendars) if calendars else {}
    return {code: _latest_of(exchange, now, closes.get(exchange.calendar or "")) for code, exchange in found.items()}


def _latest_closes(now: datetime, calendars: Collection[str]) -> dict[str, tuple[datetime, datetime]]:
    """By calendar, when the last begun session closes, and when the last ended session has closed."""
    sessions = TradingSession.objects.filter(calendar__in=calendars, opens_at__gt=now - BEHIND, opens_at__lte=now)
    rows = (
        sessions.order_by()
        .values_list("calendar")
        .annotate(begun=Max("closes_at"), ended=Max("closes_at", filter=Q(closes_at__lte=now)))
    )
    return {calendar: (begun, ended) for calendar, begun, ended in rows if ended}


def _latest_of(exchange: Exchange, now: datetime, closes: tuple[datetime, datetime] | None) -> LatestSessions:
    if closes is not None:
        begun, ended = (day_of_session(exchange, closes_at) for closes_at in closes)
        return LatestSessions(begun, ended)
    today = now.astimezone(ZoneInfo(exchange.timezone)).date()
    yesterday = today - timedelta(days=1)
    return LatestSessions(today if exchange.never_closes else yesterday, yesterday)


class SessionDays:
    """The days of the last sessions of exchanges."""

    def __init__(self, days: Mapping[str, Sequence[date]]) -> None:
        self._days = days

    @classmethod
    def until(cls, now: datetime, exchanges: Collection[str]) -> Self:
        """Read the sessions that opened up to `now`, in a single query (none if no exchange has a calendar)."""
        calendars = {found.calendar for exchange in exchanges if (found := exchange_of(exchange)).calendar}
        if not calendars:
            return cls({})
        stored = TradingSession.objects.filter(calendar__in=calendars, opens_at__gt=now - BEHIND, opens_at__lte=now)
        closes: dict[str, list[datetime]] = {}
        for calendar, closes_at in stored.order_by("closes_at").values_list("calendar", "closes_at"):
            closes.setdefault(calendar, []).append(closes_at)
        return cls(
            {
                exchange: [day_of_session(found, closes_at) for closes_at in closes[found.calendar]]
                for exchange in exchanges
                if (found := exchange_of(exchange)).calendar in closes
            }
        )

    def before(self, exchange: str, day: date) -> date | None:
        """The last session day before `day`; None if the sessions of the exchange are not known."""
        if exchange_of(exchange).never_closes:
            return day - timedelta(days=1)
        return max((session for session in self._days.get(exchange, ()) if session < day), default=None)


def days_without_session(code: str, days: Collection[date]) -> set[date]:
    """The days on which an exchange does not trade, as far as its calendar knows. Imports pandas."""
    exchange = exchange_of(code)
    if not exchange.calendar or not days:
        return set()
    session_days = import_string("market.calendar.exchange_calendars.session_days")
    return set(days) - {day for day, _close in session_days(exchange.calendar, min(days), max(days))}


def ends_of_calendars(now: datetime) -> dict[str, datetime]:
    """The last known sessions by calendar. A calendar with less than RENEWED_BEFORE left has no later sessions.

    Counts the exchanges of stocks that were checked lately: other exchanges' sessions may not be stored any more.
    """
    lately = Stock.objects.filter(checked_at__gt=now - CHECKED_LATELY).order_by().values_list("exchange", flat=True)
    calendars = {found.calendar for exchange in lately.distinct() if (found := exchange_of(exchange)).calendar}
    sessions = TradingSession.objects.filter(calendar__in=calendars).order_by().values_list("calendar")
    return dict(sessions.annotate(Max("opens_at")))


def keep_sessions(exchange: str) -> None:
    """Store the next sessions of a stock's exchange, unless enough are stored."""
    calendar = exchange_of(exchange).calendar
    if calendar:
        _complete(calendar, timezone.now().date())


@lru_cache
def _complete(calendar: str, today: date) -> None:
    """Store missing sessions, once a day and process: some calendars end with the last year of known holidays."""
    now = timezone.now()
    if TradingSession.objects.filter(calendar=calendar, opens_at__gt=now + RENEWED_BEFORE).exists():
        return
    sessions = import_string("market.calendar.exchange_calendars.sessions")(calendar, now - BEHIND, now + AHEAD)
    TradingSession.objects.bulk_create(
        (
            TradingSession(calendar=calendar, opens_at=opens_at, closes_at=closes_at)
            for opens_at, closes_at in sessions
        ),
        ignore_conflicts=True,
    )
    TradingSession.objects.filter(calendar=calendar, opens_at__lt=now - 2 * BEHIND).delete()
