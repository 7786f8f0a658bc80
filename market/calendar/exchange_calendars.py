"""Exchanges' calendars, from exchange_calendars. Imports pandas: not for processes that answer users.

A calendar may begin or end with the years of known holidays, and may fail for some years. Neither is an error here:
such days are not known.
"""

import logging
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache

from exchange_calendars import ExchangeCalendar, get_calendar
from exchange_calendars.calendar_utils import global_calendar_dispatcher
from exchange_calendars.pandas_extensions.offsets import OrthodoxEaster

# pandas 3.1 has renamed the method that an offset defines. Without the new name, the calendars of Athens and Bucharest
# cannot be loaded with exchange_calendars 4.13.
OrthodoxEaster._add_datetime = OrthodoxEaster._apply

logger = logging.getLogger(__name__)

DAY = timedelta(days=1)


def sessions(calendar: str, start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
    """The opening and the close, in UTC, of each known session that opens from `start` up to `end`."""
    known = _load(calendar, start.date(), (end + DAY).date())  # a day's session may open on the evening before
    if known is None:
        return []
    pairs = zip(known.opens, known.closes, strict=True)
    return [(opens.to_pydatetime(), closes.to_pydatetime()) for opens, closes in pairs if start <= opens < end]


def session_days(calendar: str, first: date, last: date) -> list[tuple[date, datetime]]:
    """The days on which an exchange trades, from `first` to `last`, each with its close in UTC.

    Days before the calendar begins are left out. For days that the calendar does not know, mostly after its end,
    Monday to Friday count as sessions, and midnight as their close.
    """
    earliest, latest = _bounds(calendar)
    first = max(first, earliest)
    if first > last:
        return []
    known = _load(calendar, first, last)
    if known is None:
        return list(_weekdays(first, last))
    closes = known.closes.loc[str(first) : str(last)]
    days = [(day.date(), closes_at.to_pydatetime()) for day, closes_at in closes.items()]
    return days if last <= latest else [*days, *_weekdays(latest + DAY, last)]


def _bounds(calendar: str) -> tuple[date, date]:
    """The first and the last day of a calendar."""
    kind = global_calendar_dispatcher._calendar_factories[calendar]  # there is no public way
    earliest, latest = kind.bound_min(), kind.bound_max()
    return earliest.date() if earliest else date.min, latest.date() if latest else date.max


def _load(calendar: str, first: date, last: date) -> ExchangeCalendar | None:
    """A calendar with its known days from `first` to `last`; None if none is known."""
    return _load_months(calendar, first.replace(day=1), last.replace(month=12, day=31))


@lru_cache(maxsize=32)
def _load_months(calendar: str, first: date, last: date) -> ExchangeCalendar | None:
    """`_load`, for whole months. Loading takes up to seconds, for many days as for few."""
    earliest, latest = _bounds(calendar)
    # Both ends are given: the default end is a year after exchange_calendars was imported.
    start, end = max(first, earliest), min(last, latest)
    if start > end:
        logger.warning(
            "the calendar %s ends on %s: a newer version of exchange_calendars may have more days", calendar, latest
        )
        return None
    try:
        return get_calendar(calendar, start=start, end=end)
    except Exception as error:  # noqa: BLE001  (whatever a calendar stumbles over, prices are fetched without it)
        reason = str(error).partition("\n")[0][:200]
        logger.warning("the calendar %s could not be loaded from %s to %s: %s", calendar, start, end, reason)
        return None


def _weekdays(first: date, last: date) -> Iterator[tuple[date, datetime]]:
    for number in range((last - first).days + 1):
        day = first + number * DAY
        if day.weekday() < 5:
            yield day, datetime.combine(day + DAY, time(), UTC)
