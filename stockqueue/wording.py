"""Wording that pages, commands and logs share: durations, moments, lists of names."""

from collections.abc import Iterable
from datetime import datetime, timedelta


def describe_duration(duration: timedelta) -> str:
    """`0.35 s`, `42 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`."""
    seconds = max(duration.total_seconds(), 0.0)
    return f"{seconds:.2f} s" if seconds < 10 else describe_age(duration)


def describe_age(duration: timedelta) -> str:
    """The same in whole seconds: `0 s`, `5 s`, `3 min 20 s`."""
    minutes, seconds = divmod(max(round(duration.total_seconds()), 0), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s")]
    while len(parts) > 1 and parts[0][0] == 0:
        parts.pop(0)
    return " ".join(f"{count} {unit}" for count, unit in parts[:2] if count) or "0 s"


def describe_moment(moment: datetime) -> str:
    """`2026-11-25 21:12:16.201`, in UTC."""
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03}"


def name_some(names: Iterable[str], at_most: int) -> str:
    """`AAPL, MSFT and 3 more`: each name once, and the number of names beyond `at_most`."""
    distinct = list(dict.fromkeys(names))
    more = f" and {len(distinct) - at_most} more" if len(distinct) > at_most else ""
    return ", ".join(distinct[:at_most]) + more
