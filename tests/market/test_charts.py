"""What is read from Yahoo's charts: one bar a day, with one adjustment, and no price that is none."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest

from market.sources.base import MalformedAnswer
from market.sources.yahoo.charts import dividend_days, mend_chart, read_bars, splits_of
from tests.support.standins import yahoo_chart
from tests.support.standins.yahoo import daily_bars
from tests.support.standins.yahoo_chart import Bar
from tests.support.yahoo_histories import SINCE, six_values

FIRST = date(2026, 11, 2)
UNKNOWN: Any = None


def chart(rows: Sequence[tuple[datetime, float | None]], zone: str) -> dict[str, Any]:
    """An answer with a close for each moment; the other prices are the same, and volumes are 1."""
    closes = [close for _at, close in rows]
    quote = {name: list(closes) for name in ("open", "high", "low", "close")} | {"volume": [1] * len(rows)}
    result = {
        "meta": {"exchangeTimezoneName": zone},
        "timestamp": [int(at.timestamp()) for at, _close in rows],
        "indicators": {"quote": [quote], "adjclose": [{"adjclose": list(closes)}]},
    }
    return {"chart": {"result": [result], "error": None}}


def closes_in(answer: dict[str, Any]) -> list[float | None]:
    (result,) = answer["chart"]["result"]
    (quote,) = result["indicators"]["quote"]
    lengths = {len(column) for column in (result["timestamp"], *quote.values())}
    assert lengths == {len(quote["close"])} == {len(result["indicators"]["adjclose"][0]["adjclose"])}
    closes: list[float | None] = quote["close"]
    return closes


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo", "Europe/London", "Pacific/Auckland"])
def test_of_two_rows_for_a_day_the_one_with_prices_counts(zone):
    opens = datetime(2026, 11, 26, 9, 30, tzinfo=ZoneInfo(zone))
    later = opens + timedelta(days=1)
    answer = chart([(opens, 1.0), (later, 2.0), (later + timedelta(hours=5), None)], zone)
    assert mend_chart(answer)
    assert closes_in(answer) == [1.0, 2.0]
    assert not mend_chart(answer)


def test_a_row_without_prices_stays_where_it_is_the_only_one_of_its_day():
    opens = datetime(2026, 11, 26, 9, 30, tzinfo=ZoneInfo("America/New_York"))
    answer = chart([(opens, 1.0), (opens + timedelta(days=1), None)], "America/New_York")
    assert not mend_chart(answer)
    assert closes_in(answer) == [1.0, None]


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {},
        {"chart": {"result": []}},
        {"chart": {"result": [{"indicators": {"quote": [{}]}}]}},
        {"chart": {"result": [{"indicators": {"quote": [{"volume": [1], "close": [None]}]}}]}},
    ],
)
def test_an_answer_that_lacks_a_part_is_left_as_it_is(answer):
    assert not mend_chart(answer)


@pytest.mark.parametrize("granularity", ["1m", "1h", "1wk", "3mo"])
def test_rows_of_another_length_than_a_day_are_no_answer(yahoo, yahoo_source, symbol, granularity, monkeypatch):
    meta = yahoo_chart._meta
    monkeypatch.setattr(yahoo_chart, "_meta", lambda *args: meta(*args) | {"dataGranularity": granularity})
    with pytest.raises(MalformedAnswer, match=f"rows of {granularity}"):
        yahoo_source.history(symbol, SINCE)


def frame(closes: Sequence[float], *, currency_factor: float = 1.0, **actions: dict[int, float]) -> pd.DataFrame:
    """A table of yfinance's, with a bar a day; actions by the number of their day."""
    index = pd.DatetimeIndex([pd.Timestamp(FIRST) + pd.Timedelta(days=number) for number in range(len(closes))])
    prices = [close * currency_factor for close in closes]
    table = pd.DataFrame(dict.fromkeys(("Open", "High", "Low", "Close", "Adj Close"), prices), index=index)
    table["Volume"] = 400
    for name, found in actions.items():
        table[name.replace("_", " ")] = [found.get(number, 0.0) for number in range(len(closes))]
    return table


@pytest.mark.parametrize("factor", [1.0, 150.0])
@pytest.mark.parametrize(
    ("closes", "ratio", "expected"),
    [
        ([400, 404, 408, 102.5, 103], 4.0, [100, 101, 102, 102.5, 103]),  # not adjusted yet
        ([100, 101, 102, 102.5, 103], 4.0, [100, 101, 102, 102.5, 103]),  # adjusted
        ([100, 404, 408, 102.5, 103], 4.0, [100, 101, 102, 102.5, 103]),  # adjusted in part
        ([10, 10.2, 9.9, 101, 103], 0.1, [100, 102, 99, 101, 103]),  # one new share for ten
        ([30, 31, 31.5, 21.2, 21], 1.5, [20, 20.666667, 21, 21.2, 21]),
        ([30, 31, 31.5, 18, 21], 1.1, [30, 31, 31.5, 18, 21]),  # a crash on the day of a stock dividend
        ([30, 31, 31.5, 28.6, 28], 1.1, [30, 31, 31.5, 28.6, 28]),
    ],
)
def test_bars_before_a_split_of_the_same_answer_are_adjusted_by_it(closes, ratio, expected, factor):
    bars = read_bars(frame(closes, currency_factor=factor, Stock_Splits={3: ratio}))
    assert [bar.close / factor for bar in bars] == pytest.approx(expected)
    assert [bar.open for bar in bars] == [bar.close for bar in bars]
    for given, bar in zip(closes, bars, strict=True):
        assert bar.volume == (400 if bar.close / factor == pytest.approx(given) else round(400 * ratio))


def test_actions_have_the_days_on_which_they_count():
    table = frame([1, 2, 3, 4], Dividends={1: 0.2}, Stock_Splits={2: 2.0}, Capital_Gains={3: 0.1})
    assert splits_of(table) == {FIRST + timedelta(days=2): 2.0}
    assert dividend_days(table) == [FIRST + timedelta(days=1), FIRST + timedelta(days=3)]


def test_zeros_in_place_of_open_high_and_low_are_not_known(yahoo, yahoo_source, symbol):
    *served, newest = daily_bars(symbol, 25)
    yahoo.server.serve(symbol, [*served, replace(newest, open=0.0, high=0.0, low=0.0, volume=0)])
    unknown: Bar = replace(newest, open=UNKNOWN, high=UNKNOWN, low=UNKNOWN, volume=0)
    assert six_values(yahoo_source.history(symbol, SINCE).bars) == six_values([*served, unknown])


@pytest.mark.parametrize("volume", [0, 1_000])
def test_a_close_of_zero_is_none(yahoo, yahoo_source, symbol, volume):
    *served, newest = daily_bars(symbol, 25)
    yahoo.server.serve(symbol, [*served, replace(newest, close=0.0, adj_close=0.0, volume=volume)])
    assert six_values(yahoo_source.history(symbol, SINCE).bars) == six_values(served)


def test_a_history_tells_its_actions_and_where_it_begins(yahoo, yahoo_source, symbol):
    bars = daily_bars(symbol, 25)
    yahoo.server.serve(symbol, bars, splits={bars[-3].date: (2, 1)}, dividends={bars[-8].date: 0.5})
    history = yahoo_source.history(symbol, SINCE)
    assert history.actions == (bars[-8].date, bars[-3].date)
    assert history.begins == bars[0].date
