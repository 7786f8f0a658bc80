"""Yahoo's charts: what yfinance would misread is mended before, and its tables become bars after."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from itertools import pairwise
from math import log
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd

from market.models import ABSURD_PRICE, LARGEST_VOLUME
from market.sources.base import Bar

_COLUMNS = ("Open", "High", "Low", "Close", "Adj Close", "Volume")
"""Columns of yfinance's tables, in the order of Bar."""
DAILY = "1d"
_UNKNOWN_VOLUME = -1
_SMALLEST_SPLIT = 1.25
"""A smaller split, such as a stock dividend, cannot be told from the move of a day."""


def granularity_of(answer: Any) -> str:
    """The time of a row in an answer, as read from JSON: `1d` for a day, and if the answer does not tell."""
    try:
        return str(answer["chart"]["result"][0]["meta"].get("dataGranularity") or DAILY)
    except (LookupError, TypeError, AttributeError):
        return DAILY


def mend_chart(answer: Any) -> bool:
    """Change an answer, as read from JSON, so that yfinance reads it rightly. Whether anything was changed.

    Null and absurd volumes become -1, because yfinance would read 0 or an arbitrary number. A row without a close is
    removed if the row before it is of the same day, because yfinance would drop the row with prices.
    """
    try:
        chart = answer["chart"]["result"][0]
        quote = chart["indicators"]["quote"][0]
        is_changed = _mark_unknown_volumes(quote)
        return _remove_repeated_days(chart, quote) or is_changed
    except (LookupError, TypeError, ValueError):  # yfinance names the missing part of the chart
        return False


def _mark_unknown_volumes(quote: dict[str, Any]) -> bool:
    if all(map(_is_volume, quote["volume"])):
        return False
    quote["volume"] = [volume if _is_volume(volume) else _UNKNOWN_VOLUME for volume in quote["volume"]]
    return True


def _is_volume(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value <= LARGEST_VOLUME


def _remove_repeated_days(chart: dict[str, Any], quote: dict[str, Any]) -> bool:
    times = chart["timestamp"]
    if None not in quote["close"]:
        return False
    zone = ZoneInfo(chart["meta"]["exchangeTimezoneName"])
    days = [datetime.fromtimestamp(at, zone).date() for at in times]
    repeated = [
        place
        for place, (before, day) in enumerate(pairwise(days), 1)
        if day == before and quote["close"][place] is None and quote["close"][place - 1] is not None
    ]
    adjusted = [columns["adjclose"] for columns in chart["indicators"].get("adjclose", []) if "adjclose" in columns]
    for place in reversed(repeated):
        for column in (times, *quote.values(), *adjusted):
            del column[place]
    return bool(repeated)


def read_bars(frame: pd.DataFrame) -> list[Bar]:
    """The rows with a sound close, as bars with one adjustment. Without trades, Yahoo sends rows without a close.

    A row's day is the exchange's calendar day (yfinance's index is at the exchange's midnight).
    """
    columns = [frame[name].tolist() if name in frame else [None] * len(frame) for name in _COLUMNS]
    bars = []
    for day, *values in zip(pd.DatetimeIndex(frame.index).date, *columns, strict=True):
        opening, high, low, close, adj_close = map(_price, values[:-1])
        if close:
            bars.append(Bar(day, opening or None, high or None, low or None, close, adj_close, _volume(values[-1])))
    for day, ratio in splits_of(frame).items():
        bars = _with_split(bars, day, ratio)
    return bars


def splits_of(frame: pd.DataFrame) -> dict[date, float]:
    """The splits of a table by their first day: 4.0 for four new shares in place of one."""
    return dict(_actions(frame, "Stock Splits"))


def dividend_days(frame: pd.DataFrame) -> list[date]:
    """The first days without a right to a dividend or a capital gain."""
    return sorted({day for name in ("Dividends", "Capital Gains") for day, _amount in _actions(frame, name)})


def _actions(frame: pd.DataFrame, name: str) -> Iterator[tuple[date, float]]:
    if name in frame:
        for day, value in zip(pd.DatetimeIndex(frame.index).date, frame[name].tolist(), strict=True):
            if value and value > 0:  # not NaN
                yield day, float(value)


def day_of(moment: object) -> date | None:
    """The day of a time among the facts of yfinance, which are in the exchange's time zone; None without a time."""
    return moment.date() if isinstance(moment, pd.Timestamp) else None


def _with_split(bars: Sequence[Bar], day: date, ratio: float) -> list[Bar]:
    """The bars with the split in all earlier bars. On its day, Yahoo may not have adjusted earlier bars yet."""
    first = next((place for place, bar in enumerate(bars) if bar.date >= day), len(bars))
    if not 0 < first < len(bars) or not _looks_like(ratio, bars[first - 1], bars[first]):
        return list(bars)
    begin = first - 1  # of the bars that are not adjusted
    while begin > 0 and not _looks_like(1 / ratio, bars[begin - 1], bars[begin]):
        begin -= 1
    return [*bars[:begin], *(_split(bar, ratio) for bar in bars[begin:first]), *bars[first:]]


def _looks_like(ratio: float, before: Bar, after: Bar) -> bool:
    """Whether the step between two closes is nearer to a split than to no change."""
    if not ratio > 0 or abs(log(ratio)) < log(_SMALLEST_SPLIT) or before.close * after.close <= 0:
        return False
    step = log(before.close / after.close)
    return abs(step - log(ratio)) < abs(step)


def _split(bar: Bar, ratio: float) -> Bar:
    prices = [None if price is None else price / ratio for price in bar[1:6]]
    return Bar._make([bar.date, *prices, None if bar.volume is None else round(bar.volume * ratio)])


def _price(value: Any) -> float | None:
    """`value` as a double; None for NaN, None, and impossible prices."""
    return float(value) if value is not None and abs(value) < ABSURD_PRICE else None


def _volume(value: Any) -> int | None:
    return int(value) if value is not None and 0 <= value <= LARGEST_VOLUME else None
