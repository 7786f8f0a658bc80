"""Exchanges' calendars, from exchange_calendars. Imports pandas: not for processes that answer users."""

from datetime import date, datetime
from functools import lru_cache

from exchange_calendars import ExchangeCalendar, get_calendar
from exchange_calendars.calendar_utils import global_calendar_dispatcher


def sessions(calendar: str, start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
    """When each session opens and closes that opens between two moments, as far as the calendar is known, in UTC."""
    known = get_calendar(calendar, start=start.date())  # it ends a year from now, or where its holidays are not known
    pairs = zip(known.opens, known.closes, strict=True)
    return [(opens.to_pydatetime(), closes.to_pydatetime()) for opens, closes in pairs if start <= opens < end]


def session_days(calendar: str, first: date, last: date) -> list[tuple[date, datetime]]:
    """The days on which an exchange trades, from `first` to `last`, each with its close in UTC.

    Days before those that the calendar knows are left out.
    """
    known = _since(calendar, first.replace(month=1, day=1))
    closes = known.closes.loc[str(first) : str(last)]
    return [(day.date(), closes_at.to_pydatetime()) for day, closes_at in closes.items()]


@lru_cache(maxsize=32)
def _since(calendar: str, first: date) -> ExchangeCalendar:
    """A calendar from this day on, or from the first that it knows."""
    earliest = global_calendar_dispatcher._calendar_factories[calendar].bound_min()  # there is no public way
    return get_calendar(calendar, start=first if earliest is None else max(first, earliest.date()))
