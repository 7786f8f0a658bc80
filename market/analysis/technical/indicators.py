"""Technical indicators of daily prices, by `ta`. Imports pandas: not for processes that answer users.

Values from a warm-up, or without a meaning, are left out: NaN in a series, None in the newest values.
"""

import math
from collections.abc import Sequence
from datetime import date
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view
from ta.momentum import RSIIndicator
from ta.trend import MACD, EMAIndicator, SMAIndicator
from ta.volatility import BollingerBands

from market.prices.volatility import RETURNS, TRADING_DAYS_A_YEAR

SETTLED = 250
"""The number of bars after which the first value of an exponential average no longer counts.

`ta` begins with the first value, other libraries with a simple average. The choice moves the RSI by 7 points early in
a series, by 0.003 after 100 bars and by less than 1e-7 after 250. The slowest average, the EMA of 26 days, keeps a
share of 5e-9 after 250 bars.
"""

NEEDED = {
    "sma_20": 20,  # simple averages and deviations: their number of days
    "sma_50": 50,
    "sma_200": 200,
    "ema_12": SETTLED,  # exponential averages, the basis of RSI, MACD and ATR
    "ema_26": SETTLED,
    "rsi_14": SETTLED,
    "macd": SETTLED,
    "macd_signal": SETTLED,
    "macd_histogram": SETTLED,
    "bollinger_upper": 20,
    "bollinger_middle": 20,
    "bollinger_lower": 20,
    "atr_14": SETTLED,  # of bars with a high and a low
    "volatility_20": RETURNS + 1,  # a return takes two closes
}
"""The bars that each indicator needs, its own bar included."""

RSI_DAYS = 14
ATR_DAYS = 14
FLAT = 1e-6
"""Closes within this fraction of each other are equal: adjusting moves the last digits."""
SPLIT = 1.4
"""The least factor between two days that counts as a split (3 for 2, or more), for prices as traded."""

_Floats = npt.NDArray[np.float64]


class Prices(NamedTuple):
    """Daily bars in columns, oldest first; None and NaN for unknown values."""

    dates: Sequence[date]
    high: Sequence[float | None]
    low: Sequence[float | None]
    close: Sequence[float | None]
    adj_close: Sequence[float | None]


class Indicators(NamedTuple):
    """The newest bar: its adjusted close and its indicators, in the stock's currency; None means not known.

    `bars` is the number of bars behind the indicators. RSI is 0 to 100; the volatility is annual, and 0.35 means 35 %.
    """

    date: date
    bars: int
    close: float
    sma_20: float | None = None
    sma_50: float | None = None
    sma_200: float | None = None
    ema_12: float | None = None
    ema_26: float | None = None
    rsi_14: float | None = None
    macd: float | None = None
    macd_signal: float | None = None
    macd_histogram: float | None = None
    bollinger_upper: float | None = None
    bollinger_middle: float | None = None
    bollinger_lower: float | None = None
    atr_14: float | None = None
    volatility_20: float | None = None

    def values(self) -> dict[str, float | None]:
        """The indicators by name."""
        return {name: getattr(self, name) for name in NEEDED}


class _Adjusted(NamedTuple):
    """Bars with a close, all prices adjusted for splits and dividends. NaN for a missing high or low."""

    dates: list[date]
    high: _Floats
    low: _Floats
    close: _Floats


def latest(prices: Prices) -> Indicators | None:
    """The newest bar's indicators; None if no bar has a close."""
    adjusted = _adjust(prices)
    if not adjusted.dates:
        return None
    found = {name: float(column[-1]) for name, column in _indicators(adjusted).items()}
    return Indicators(
        adjusted.dates[-1],
        len(adjusted.dates),
        float(adjusted.close[-1]),
        **{name: value if math.isfinite(value) else None for name, value in found.items()},
    )


def series(prices: Prices) -> pd.DataFrame:
    """Every bar's indicators by date, with its adjusted close as `close`: one column each, NaN means not known.

    The series begins after the last split without adjusted prices.
    """
    adjusted = _adjust(prices)
    index = pd.DatetimeIndex(pd.to_datetime(adjusted.dates), name="date")
    columns = {"close": adjusted.close}
    for name, found in _indicators(adjusted).items():
        columns[name] = found.copy()
        columns[name][: NEEDED[name] - 1] = np.nan
    return pd.DataFrame(columns, index=index, columns=["close", *NEEDED])


def _indicators(adjusted: _Adjusted) -> dict[str, _Floats]:
    """Each indicator with a value for the newest bar; values of earlier bars may come from the warm-up."""
    bars = len(adjusted.close)
    close = pd.Series(adjusted.close)
    found: dict[str, pd.Series] = {}
    for days in (20, 50, 200):
        if bars >= NEEDED[f"sma_{days}"]:
            found[f"sma_{days}"] = SMAIndicator(close, days).sma_indicator()
    if bars >= NEEDED["bollinger_middle"]:
        bands = BollingerBands(close, 20, 2)
        found["bollinger_upper"] = bands.bollinger_hband()
        found["bollinger_middle"] = bands.bollinger_mavg()
        found["bollinger_lower"] = bands.bollinger_lband()
    if bars >= SETTLED:
        found["ema_12"] = EMAIndicator(close, 12).ema_indicator()
        found["ema_26"] = EMAIndicator(close, 26).ema_indicator()
        macd = MACD(close, window_slow=26, window_fast=12, window_sign=9)
        found["macd"] = macd.macd()
        found["macd_signal"] = macd.macd_signal()
        found["macd_histogram"] = macd.macd_diff()
    columns = {name: series.to_numpy() for name, series in found.items()}
    if bars >= NEEDED["volatility_20"]:
        columns["volatility_20"] = _volatility(adjusted.close)
    if bars >= SETTLED:
        rsi = RSIIndicator(close, RSI_DAYS).rsi().to_numpy()
        columns["rsi_14"] = np.where(_is_flat(adjusted.close), np.nan, rsi)
        columns["atr_14"] = _average_true_range(adjusted)
    return columns


def _volatility(close: _Floats) -> _Floats:
    """The `realised_volatility` of each bar and its predecessors."""
    logs = np.log(close, out=np.full(len(close), np.nan), where=close > 0)
    returns = sliding_window_view(np.diff(logs), RETURNS)
    return _at_the_end(len(close), returns.std(axis=1, ddof=1) * math.sqrt(TRADING_DAYS_A_YEAR), np.nan)


def _is_flat(close: _Floats) -> npt.NDArray[np.bool_]:
    """Mark bars with RSI windows of equal closes: without a move, an RSI of 0, 50 or 100 would be arbitrary."""
    windows = sliding_window_view(close, RSI_DAYS + 1)
    return _at_the_end(len(close), np.ptp(windows, axis=1) <= FLAT * np.abs(windows[:, -1]), False)


def _at_the_end(bars: int, values: npt.NDArray[Any], before: Any) -> npt.NDArray[Any]:
    """Put values at the last bars, and `before` at the first bars."""
    return np.concatenate((np.full(bars - len(values), before), values))


def _average_true_range(adjusted: _Adjusted) -> _Floats:
    """Wilder's ATR. The version in `ta` loops over the bars, slower than all other indicators together.

    Bars without a high or a low are skipped, like days without a bar.
    """
    whole = np.isfinite(adjusted.high) & np.isfinite(adjusted.low)
    high, low, close = adjusted.high[whole], adjusted.low[whole], adjusted.close[whole]
    before = np.concatenate(([np.nan], close[:-1]))[: len(close)]
    ranges = np.fmax(high - low, np.fmax(np.abs(high - before), np.abs(low - before)))
    average = pd.Series(ranges).ewm(alpha=1 / ATR_DAYS, adjust=False).mean().to_numpy(copy=True)
    average[: NEEDED["atr_14"] - 1] = np.nan
    by_bar = np.full(len(adjusted.close), np.nan)
    by_bar[whole] = average
    return by_bar


def _adjust(prices: Prices) -> _Adjusted:
    """The bars with a close, scaled by `adj_close` / `close`, from the last unadjusted split on.

    A bar without an adjusted close takes the factor of the last bar before with a factor, or else of the first after.
    """
    high, low, close, adj_close = (np.array(column, dtype=np.float64) for column in prices[1:])
    known = np.isfinite(close)
    dates = list(prices.dates)
    if not known.all():
        high, low, close, adj_close = high[known], low[known], close[known], adj_close[known]
        dates = [day for day, is_known in zip(dates, known, strict=True) if is_known]
    is_adjusted = np.isfinite(adj_close) & (close != 0)
    factor = np.divide(adj_close, close, out=np.full(len(close), np.nan), where=is_adjusted)
    if not is_adjusted.all():
        factor = pd.Series(factor).ffill().bfill().fillna(1.0).to_numpy()
    close = np.where(is_adjusted, adj_close, close * factor)  # to the last digit
    first = 0 if is_adjusted.all() else _after_unadjusted_split(close, is_adjusted)
    return _Adjusted(dates[first:], (high * factor)[first:], (low * factor)[first:], close[first:])


def _after_unadjusted_split(close: _Floats, is_adjusted: npt.NDArray[np.bool_]) -> int:
    """The first bar after the last jump that looks like a split, next to a bar whose price is as traded."""
    after, before = close[1:], close[:-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = after / before
    jumps = ((ratio >= SPLIT) | ((ratio > 0) & (ratio <= 1 / SPLIT))) & ~(is_adjusted[1:] & is_adjusted[:-1])
    found = np.flatnonzero(jumps)
    return int(found[-1]) + 1 if len(found) else 0
