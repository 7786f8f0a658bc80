"""Exchanges' calendars, from exchange_calendars. Imports pandas: not for processes that answer users."""

from datetime import datetime

from exchange_calendars import get_calendar


def sessions(calendar: str, start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
    """When each session opens and closes that opens between two moments, as far as the calendar is known, in UTC."""
    known = get_calendar(calendar, start=start.date())  # it ends a year from now, or where its holidays are not known
    pairs = zip(known.opens, known.closes, strict=True)
    return [(opens.to_pydatetime(), closes.to_pydatetime()) for opens, closes in pairs if start <= opens < end]
