"""Technical indicators: against TA-Lib, without values from a warm-up, and with what real histories have in them."""

import math
from collections.abc import Iterable
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest
import talib

from market.analysis.technical.indicators import NEEDED, SETTLED, Indicators, Prices, latest, series
from market.prices.volatility import realised_volatility

FIRST = date(2024, 1, 1)
WINDOWS = ["sma_20", "sma_50", "sma_200", "bollinger_upper", "bollinger_middle", "bollinger_lower"]
# Of StockCharts' worksheet for the RSI, which begins with 70.53 after 14 changes.
WORKSHEET = [
    *(44.3389, 44.0902, 44.1497, 43.6124, 44.3278, 44.8264, 45.0955, 45.4245, 45.8433, 46.0826, 45.8931),
    *(46.0328, 45.6140, 46.2820, 46.2820, 46.0028, 46.0328, 46.4116, 46.2222, 45.6439, 46.2122, 46.2521),
    *(45.7137, 46.4515, 45.7835, 45.3548, 44.0288, 44.1783, 44.2181, 44.5672, 43.4205, 42.6628, 43.1314),
]


def walk(seed: int, bars: int = 600) -> Prices:
    """A stock's prices that move by chance, the same every time."""
    chance = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(chance.normal(0.0003, chance.uniform(0.005, 0.04), bars)))
    high = close * (1 + np.abs(chance.normal(0, 0.01, bars)))
    low = close * (1 - np.abs(chance.normal(0, 0.01, bars)))
    return prices(close, high, low)


def prices(close: Any, high: Any = None, low: Any = None, adj_close: Any = None) -> Prices:
    """Bars of consecutive days; without a high or low these are the close."""
    dates = [FIRST + timedelta(days=number) for number in range(len(close))]
    high, low = (list(close if column is None else column) for column in (high, low))
    return Prices(dates, high, low, list(close), [None] * len(close) if adj_close is None else adj_close)


def without_some_days(found: Prices) -> Prices:
    kept = [number for number in range(len(found.dates)) if number % 7 not in (2, 3) and not 300 < number < 320]
    return pick(found, kept)


def pick(found: Prices, numbers: Iterable[int]) -> Prices:
    """Only the bars with these numbers."""
    columns: list[Any] = [[column[number] for number in numbers] for column in found]
    return Prices(*columns)


def by_talib(found: Prices) -> dict[str, Any]:
    high, low, close = (np.array(column, dtype=float) for column in (found.high, found.low, found.close))
    return {
        **{f"sma_{days}": talib.SMA(close, days) for days in (20, 50, 200)},
        **{f"ema_{days}": talib.EMA(close, days) for days in (12, 26)},
        **dict(zip(("macd", "macd_signal", "macd_histogram"), talib.MACD(close, 12, 26, 9), strict=True)),
        **dict(zip(WINDOWS[3:], talib.BBANDS(close, 20, 2, 2), strict=True)),
        "rsi_14": talib.RSI(close, 14),
        "atr_14": talib.ATR(high, low, close, 14),
    }


CASES = {
    **{f"walk {seed}": walk(seed) for seed in range(50)},
    "line": prices(np.linspace(50, 150, 600), np.linspace(51, 151, 600), np.linspace(49, 149, 600)),
    "missing days": without_some_days(walk(50, 900)),
}


@pytest.mark.parametrize("case", CASES)
def test_indicators_are_those_of_talib(case):
    ours = series(CASES[case])
    for name, theirs in by_talib(CASES[case]).items():
        exact = name in WINDOWS
        first = NEEDED[name] - 1 if exact else SETTLED - 1
        tolerance = 1e-9 if exact else 1e-5
        assert ours[name].to_numpy()[first:] == pytest.approx(theirs[first:], rel=tolerance, abs=tolerance), name


@pytest.mark.parametrize("seed", range(5))
def test_volatility_is_that_of_stocks(seed):
    found = walk(seed)
    close: list[Any] = list(found.close)
    ours = series(found)["volatility_20"]
    for bars in (21, 22, 300, 600):
        assert ours.iloc[bars - 1] == pytest.approx(realised_volatility(close[:bars]), rel=1e-9)


def test_the_newest_values_are_the_last_of_the_series():
    found = walk(7)
    newest, all_bars = latest(found), series(found)
    assert newest is not None
    assert (newest.date, newest.bars, newest.close) == (found.dates[-1], 600, found.close[-1])
    assert newest.values() == all_bars.iloc[-1][list(NEEDED)].to_dict()
    assert list(all_bars.columns) == ["close", *NEEDED]


@pytest.mark.parametrize("bars", [1, 2, 13, 14, 15, 19, 20, 21, 49, 50, 199, 200, 249, 250, 251])
def test_no_value_comes_from_a_warm_up(bars):
    newest = latest(walk(3, bars))
    assert newest is not None
    known = {name for name, value in newest.values().items() if value is not None}
    assert known == {name for name, needed in NEEDED.items() if bars >= needed}


def test_a_series_has_no_value_from_a_warm_up():
    found = series(walk(3))
    for name, needed in NEEDED.items():
        assert found[name].isna().sum() == needed - 1, name
        assert found[name].first_valid_index() == found.index[needed - 1], name


def test_the_worksheet_is_too_short_for_an_rsi():
    assert talib.RSI(np.array(WORKSHEET), 14)[14] == pytest.approx(70.53, abs=0.01)
    newest = latest(prices(WORKSHEET))
    assert newest is not None
    assert newest.rsi_14 is None


def test_no_bar_gives_nothing_and_one_its_close():
    assert latest(prices([])) is None
    assert series(prices([])).empty
    assert latest(prices([12.5])) == Indicators(FIRST, 1, 12.5)


def test_a_flat_series_has_no_rsi():
    flat = latest(prices([20.0] * 400))
    assert flat is not None
    assert flat.rsi_14 is None
    assert (flat.sma_200, flat.macd, flat.atr_14, flat.volatility_20) == (20.0, 0.0, 0.0, 0.0)
    assert flat.bollinger_upper == flat.bollinger_lower == 20.0


def test_a_price_that_stands_still_after_it_moved_has_no_rsi_from_the_15th_equal_close_on():
    moved = list(walk(5, 300).close)
    rsi = series(prices([*moved, *[moved[-1]] * 20]))["rsi_14"]
    assert rsi.iloc[299:313].notna().all()
    assert rsi.iloc[314:].isna().all()


def test_a_price_that_only_rises_has_an_rsi_of_100_and_one_that_only_falls_of_0():
    rising, falling = latest(prices(range(100, 500))), latest(prices(range(500, 100, -1)))
    assert rising is not None
    assert falling is not None
    assert (rising.rsi_14, falling.rsi_14) == (100.0, 0.0)


@pytest.mark.parametrize("nothing", [None, math.nan, math.inf])
def test_a_bar_without_a_close_is_passed_over(nothing):
    found = walk(9)
    gap = without_day(found, 400)
    close = [nothing if number == 400 else price for number, price in enumerate(found.close)]
    assert latest(found._replace(close=close)) == latest(gap)
    newest = latest(found._replace(close=[*found.close[:-1], nothing]))
    assert newest is not None
    assert newest.date == found.dates[-2]


@pytest.mark.parametrize("nothing", [None, math.nan, math.inf])
@pytest.mark.parametrize("column", ["high", "low"])
def test_a_bar_without_a_high_or_low_spoils_the_atr_of_no_other_bar(column, nothing):
    found = walk(9)
    values = [nothing if number in (0, 400, 599) else price for number, price in enumerate(getattr(found, column))]
    holes = found._replace(**{column: values})
    atr = series(holes)["atr_14"].to_numpy()
    newest = latest(holes)
    assert newest is not None
    assert newest.atr_14 is None
    assert newest.rsi_14 is not None
    assert math.isnan(atr[400])
    gaps = without_day(without_day(without_day(found, 599), 400), 0)
    assert atr[598] == pytest.approx(series(gaps)["atr_14"].iloc[-1])


def without_day(found: Prices, number: int) -> Prices:
    return pick(found, [one for one in range(len(found.dates)) if one != number])


def test_prices_are_adjusted_so_that_a_split_and_a_dividend_change_nothing():
    whole = walk(11)
    columns: list[Any] = [whole.high, whole.low, whole.close]
    factor = np.where(np.arange(600) < 350, 0.25, np.where(np.arange(600) < 500, 0.98, 1.0))
    high, low, close = (list(np.array(column) / factor) for column in columns)
    raw = Prices(whole.dates, high, low, close, adj_close=whole.close)
    found, expected = latest(raw), latest(whole)
    assert found is not None
    assert expected is not None
    assert found.values() == pytest.approx(expected.values(), rel=1e-9)
    assert found.close == whole.close[-1]


def test_a_bar_without_an_adjusted_close_is_adjusted_as_the_one_before_it():
    whole = walk(12)
    adjusted = list(np.array(whole.close, dtype=float) * 0.9)
    expected = latest(whole._replace(adj_close=adjusted))
    holes = [None if number in (0, 1, 300, 301, 599) else price for number, price in enumerate(adjusted)]
    found = latest(whole._replace(adj_close=holes))
    assert found is not None
    assert expected is not None
    assert found.values() == pytest.approx(expected.values())


@pytest.mark.parametrize("ratio", [2, 1.5, 0.1])
def test_what_was_before_a_split_that_prices_are_not_adjusted_for_does_not_count(ratio):
    whole = walk(13)
    as_traded = whole._replace(
        **{
            name: [price * ratio if number < 550 else price for number, price in enumerate(getattr(whole, name))]
            for name in ("high", "low", "close")
        }
    )
    newest = latest(as_traded)
    assert newest == latest(pick(whole, range(550, 600)))
    assert newest is not None
    assert (newest.bars, newest.sma_50 is None, newest.rsi_14) == (50, False, None)
    assert series(as_traded).index[0].date() == whole.dates[550]


def test_a_jump_of_adjusted_prices_is_a_jump():
    close = [100.0] * 300 + [30.0] * 300
    newest = latest(prices(close, adj_close=close))
    assert newest is not None
    assert newest.bars == 600


@pytest.mark.parametrize("price", [0.0, -37.63, 1e-8, 1e14])
def test_any_price_is_one(price):
    close = list(walk(14).close)
    newest = latest(prices([*close, price], adj_close=[*close, price]))
    assert newest is not None
    assert newest.close == price
    assert (newest.volatility_20 is None) == (price <= 0)
    assert all(value is None or math.isfinite(value) for value in newest.values().values())
