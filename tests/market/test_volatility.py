"""The volatility of a stock is computed from its stored bars."""

import math
import random
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from market.models import Stock
from market.prices.store import store_history
from market.prices.volatility import realised_volatility, volatility_factor
from market.sources.base import Bar, History

NOW = datetime(2026, 3, 9, 12, 30, tzinfo=UTC)


def walk(seed: int, days: int) -> list[float]:
    chance = random.Random(seed)
    closes = [100.0]
    while len(closes) < days:
        closes.append(closes[-1] * math.exp(chance.gauss(0, 0.03)))
    return closes


@pytest.mark.parametrize("seed", range(5))
def test_volatility_agrees_with_numpy_and_pandas(seed):
    closes = walk(seed, 60)
    by_numpy = np.std(np.diff(np.log(closes))[-20:], ddof=1) * np.sqrt(252)
    by_pandas = (pd.Series(np.log(closes)).diff().rolling(20).std() * 252**0.5).iloc[-1]
    assert realised_volatility(closes) == pytest.approx(by_numpy, rel=1e-9)
    assert realised_volatility(closes) == pytest.approx(by_pandas, rel=1e-9)


def test_volatility_needs_20_returns():
    closes = walk(1, 21)
    assert realised_volatility(closes) is not None
    assert realised_volatility(closes[1:]) is None
    assert realised_volatility([]) is None


@pytest.mark.parametrize("bad", [0.0, -1.0])
def test_volatility_of_closes_that_are_not_above_zero_is_not_known(bad):
    closes = walk(1, 22)
    assert realised_volatility([*closes[:10], bad, *closes[11:]]) is None
    assert realised_volatility([bad, *closes[1:]]) is not None  # too long ago to count


def test_volatility_of_the_most_extreme_prices_is_a_number():
    volatility = realised_volatility([5e-324, 9e14] * 11)
    assert volatility is not None
    assert math.isfinite(volatility)


@pytest.mark.parametrize(("volatility", "factor"), [(None, None), (0.0, 0.0), (0.35, 0.35), (1.0, 1.0), (7.0, 1.0)])
def test_a_volatility_of_100_percent_counts_fully(volatility, factor):
    assert volatility_factor(volatility) == factor


def history(closes: list[float], *, first: date = date(2026, 1, 1)) -> History:
    bars = [Bar(first + timedelta(days=day), close, close, close, close, close, 1) for day, close in enumerate(closes)]
    return History("AAPL", "yahoo_finance", bars)


@pytest.mark.django_db
def test_storing_bars_updates_the_volatility_from_all_that_is_stored():
    stock = Stock.objects.create(symbol="AAPL")
    closes = walk(3, 40)
    store_history(history(closes[:15]), NOW)
    stock.refresh_from_db()
    assert stock.volatility is None

    store_history(history(closes[15:], first=date(2026, 1, 16)), NOW)
    stock.refresh_from_db()
    assert stock.volatility == realised_volatility(closes)

    store_history(history(closes[:5], first=date(2025, 1, 1)), NOW)  # a backfill
    stock.refresh_from_db()
    assert stock.volatility == realised_volatility(closes)

    corrected = [*closes[:25], 50.0, 51.0]
    store_history(history(corrected), NOW)  # of older days, where newer ones are stored
    stock.refresh_from_db()
    assert stock.volatility == realised_volatility([*corrected, *closes[27:]])

    whole = history(closes)
    store_history(replace(whole, bars=[*whole.bars[:35], *whole.bars[36:]]), NOW, replace=True)
    stock.refresh_from_db()
    assert stock.volatility == realised_volatility([*closes[:35], *closes[36:]])


@pytest.mark.django_db
def test_volatility_is_computed_only_where_something_was_written_and_asks_only_for_what_the_answer_leaves_out():
    stock = Stock.objects.create(symbol="AAPL")
    closes = walk(3, 30)
    store_history(history(closes), NOW)
    Stock.objects.update(volatility=0.123)
    with CaptureQueriesContext(connection) as nothing_new:
        store_history(history(closes), NOW)
    stock.refresh_from_db()
    assert stock.volatility == 0.123
    with CaptureQueriesContext(connection) as one_new:
        store_history(history([*closes[:-1], closes[-1] * 1.1]), NOW)
    stock.refresh_from_db()
    assert stock.volatility == realised_volatility([*closes[:-1], closes[-1] * 1.1])
    # The write, the suspicious bars, and the alerts on the stock between two statements of their savepoint.
    assert len(one_new) == len(nothing_new) + 5
    with CaptureQueriesContext(connection) as short:
        store_history(history([closes[-1] * 1.2], first=date(2026, 1, 30)), NOW)
    stock.refresh_from_db()
    assert stock.volatility == realised_volatility([*closes[:-1], closes[-1] * 1.2])
    assert len(short) == len(nothing_new) + 6  # and the closes
