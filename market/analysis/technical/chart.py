"""A stock's bars and indicators as columns of a chart."""

import math
from collections.abc import Iterable
from importlib import import_module
from typing import Any

from market.analysis.technical.analyse import HISTORY_BARS
from market.currency import major_unit
from market.models import Stock
from stockqueue.cache import Kind, cached

DRAWN = ("sma_20", "sma_50", "sma_200", "rsi_14", "macd", "macd_signal", "macd_histogram")
_WITHOUT_UNIT = ("rsi_14",)
SETTLING_BARS = 250
"""Bars to read before the drawn ones, so that every drawn bar has all its indicators."""


def cached_chart(stock: Stock, bars: int | None = HISTORY_BARS) -> dict[str, list[Any]]:
    """The same as `chart`, from the cache until the bars change."""
    if stock.bars_changed_at is None:  # nobody knows when bars of an earlier version changed
        return chart(stock, bars)
    return cached(Kind.CHART, [stock.symbol, stock.bars_changed_at, stock.currency, bars], lambda: chart(stock, bars))


def chart(stock: Stock, bars: int | None = HISTORY_BARS) -> dict[str, list[Any]]:
    """The last trusted bars, oldest first: `date`, `open`, `high`, `low`, `close`, `volume` and DRAWN.

    `bars` is their number; None: all that are stored. None in a column means not known. Prices are adjusted for splits
    and dividends, like the prices of the analyses, and in the major unit of the currency, like the prices on pages.
    Without prices, the columns are empty. Imports pandas, unless the process has done so before.
    """
    columns = ("date", "open", "high", "low", "close", "adj_close", "volume")
    trusted = stock.bars.trusted().order_by("-date").values_list(*columns)
    newest_first = list(trusted if bars is None else trusted[: bars + SETTLING_BARS])
    rows = {row[0]: row for row in newest_first}
    if not rows:
        return {name: [] for name in ("date", "open", "high", "low", "close", "volume", *DRAWN)}
    library = import_module("market.analysis.technical.indicators")
    dates, _, high, low, close, adj_close, _ = zip(*reversed(newest_first), strict=True)
    frame = library.series(library.Prices(dates, high, low, close, adj_close)).tail(bars or len(rows))
    days = [moment.date() for moment in frame.index]
    parts = major_unit(stock.currency).parts
    factors = [_ratio(adjusted, rows[day][4]) / parts for day, adjusted in zip(days, frame["close"], strict=True)]
    return {
        "date": [day.isoformat() for day in days],
        **{
            name: _rounded(_times(rows[day][place], factor) for day, factor in zip(days, factors, strict=True))
            for place, name in ((1, "open"), (2, "high"), (3, "low"))
        },
        "close": _rounded(frame["close"] / parts),
        "volume": [rows[day][6] for day in days],
        **{name: _rounded(frame[name] if name in _WITHOUT_UNIT else frame[name] / parts) for name in DRAWN},
    }


def _ratio(adjusted: float, close: float) -> float:
    return adjusted / close if close else 1.0


def _times(price: float | None, factor: float) -> float | None:
    return None if price is None else price * factor


def _rounded(values: Iterable[float | None]) -> list[float | None]:
    """Round to seven digits, more than a screen shows."""
    return [None if value is None or not math.isfinite(value) else float(f"{value:.7g}") for value in values]
