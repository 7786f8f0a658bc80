"""Prices and volumes of Yahoo's that cannot be: each is not known, and costs nothing else."""

from dataclasses import replace
from typing import Any

import pytest

from market.sources.base import MalformedAnswer
from tests.support.standins.yahoo import daily_bars
from tests.support.yahoo_histories import SINCE, six_values

UNKNOWN: Any = None
UNKNOWN_VOLUMES = [None, -1, -5, 2**63, 10**19, 1e19, 10**400, float("inf"), float("nan"), "7"]


@pytest.mark.parametrize("volume", UNKNOWN_VOLUMES, ids=lambda volume: str(volume)[:20])
def test_a_volume_that_is_none_or_absurd_is_not_known(yahoo, yahoo_source, symbol, volume):
    *served, newest = daily_bars(symbol, 25)
    yahoo.server.serve(symbol, [*served, replace(newest, volume=volume)])
    assert six_values(yahoo_source.history(symbol, SINCE).bars) == six_values(
        [*served, replace(newest, volume=UNKNOWN)]
    )


@pytest.mark.parametrize("volume", [0, 1, 2**62, 2.0**62])
def test_every_other_volume_is_known(yahoo, yahoo_source, symbol, volume):
    *served, newest = daily_bars(symbol, 25)
    yahoo.server.serve(symbol, [*served, replace(newest, volume=volume)])
    assert yahoo_source.history(symbol, SINCE).bars[-1].volume == volume


@pytest.mark.parametrize("price", [1e15, -1e15, 1e308, 10**300, float("inf"), float("nan")], ids=str)
def test_a_price_beyond_all_reason_is_not_known_and_costs_no_other_day(yahoo, yahoo_source, symbol, price):
    *served, last_but_one, newest = daily_bars(symbol, 25)
    odd = replace(last_but_one, open=price, high=price, low=price, adj_close=price)
    yahoo.server.serve(symbol, [*served, odd, replace(newest, close=price)])
    unknown = replace(last_but_one, open=UNKNOWN, high=UNKNOWN, low=UNKNOWN, adj_close=UNKNOWN)
    assert six_values(yahoo_source.history(symbol, SINCE).bars) == six_values([*served, unknown])


def test_a_number_too_large_for_a_double_is_no_answer(yahoo, yahoo_source, symbol):
    *served, newest = daily_bars(symbol, 25)
    yahoo.server.serve(symbol, [*served, replace(newest, close=10**400)])
    with pytest.raises(MalformedAnswer):
        yahoo_source.history(symbol, SINCE)
