"""From indicators to BUY, HOLD or SELL: the rule's answers, its reasons, and what holds for any indicators."""

import math
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.analysis.technical.indicators import NEEDED, Indicators
from market.analysis.technical.rule import VERSION
from market.analysis.technical.rule import recommend_by_indicators as recommend
from market.recommendation import THRESHOLD, Action

prices = st.floats(0.01, 1e6)
some_prices = st.none() | prices


@st.composite
def indicators(draw: Any) -> Indicators:
    """Any indicators, also such that no prices have."""
    middle = draw(some_prices)
    return Indicators(
        date(2026, 3, 2),
        draw(st.integers(1, 600)),
        close=draw(prices | st.floats(-1e3, 0)),
        sma_50=draw(some_prices),
        sma_200=draw(some_prices),
        rsi_14=draw(st.none() | st.floats(0, 100)),
        macd_histogram=draw(st.none() | st.floats(-1e4, 1e4)),
        bollinger_middle=middle,
        bollinger_upper=None if middle is None else middle * draw(st.floats(1, 2)),
    )


def known(**changes: Any) -> Indicators:
    """A stock that says nothing: all signals at their middle."""
    values = {
        **dict.fromkeys(("close", "sma_50", "sma_200", "bollinger_middle"), 100.0),
        "bollinger_upper": 110.0,
        "rsi_14": 50.0,
        "macd_histogram": 0.0,
    }
    return Indicators(date(2026, 3, 2), 504, **(values | changes))


RISING = known(close=112.0, sma_50=108.0, rsi_14=62.0, macd_histogram=0.6, bollinger_middle=108.0)
FALLING = known(close=88.0, sma_50=92.0, rsi_14=38.0, macd_histogram=-0.6, bollinger_middle=92.0)
NOTHING_KNOWN = Indicators(date(2026, 3, 2), 1, 100.0)


def grade(found: Indicators) -> float:
    """-2 for a sure SELL to 2 for a sure BUY; 0 for HOLD, and without a recommendation."""
    action, confidence, *_ = recommend(found)
    return {Action.BUY: 1 + confidence, Action.HOLD: 0, None: 0, Action.SELL: -1 - confidence}[action]


@pytest.mark.parametrize(
    ("found", "action"), [(RISING, Action.BUY), (FALLING, Action.SELL), (known(), Action.HOLD)], ids=str
)
def test_what_rises_is_bought_what_falls_is_sold_and_what_does_neither_is_held(found, action):
    assert recommend(found).action == action


def test_the_confidence_of_a_rise_is_the_sum_of_its_votes_beyond_the_threshold():
    votes = 0.25 * 1 + 0.20 * 1 + 0.15 * (4 / 108 / 0.05) + 0.20 * (0.6 / 112 / 0.01) - 0.15 * 0.6 - 0.05 * 1
    assert recommend(RISING).confidence == pytest.approx((votes - 0.25) / 0.75, abs=1e-4)


def test_to_hold_what_does_not_move_is_certain():
    assert recommend(known())[:2] == (Action.HOLD, 1.0)


@pytest.mark.parametrize("found", [NOTHING_KNOWN, NOTHING_KNOWN._replace(rsi_14=50.0), known(sma_200=None)])
def test_too_little_known_recommends_nothing(found):
    assert recommend(found)[:2] == (None, 0.0)


@given(indicators())
def test_no_value_of_an_unknown_signal_could_change_a_recommendation(found):
    contributions = recommend(found).contributions
    known_votes = math.fsum(one.weight * one.vote for one in contributions if one.vote is not None)
    unknown = math.fsum(one.weight for one in contributions if one.vote is None)
    answers = {_action_of(known_votes - unknown), _action_of(known_votes + unknown)}
    assert recommend(found).action == (answers.pop() if len(answers) == 1 else None)


def _action_of(score: float) -> Action:
    if abs(score) >= THRESHOLD:
        return Action.BUY if score > 0 else Action.SELL
    return Action.HOLD


def test_each_signal_shows_its_value_its_vote_and_a_sentence():
    shown = {one.name: one for one in recommend(RISING).contributions}
    assert {name: one.reason for name, one in shown.items()} == {
        "close_to_sma_200": "The close is 12.0% above its average of 200 days.",
        "sma_50_to_sma_200": "The average of 50 days is 8.0% above that of 200 days.",
        "close_to_sma_50": "The close is 3.7% above its average of 50 days.",
        "macd_to_signal": "MACD is 0.54% of the close above its signal line.",
        "rsi_to_50": "RSI is 62.0: between 30 and 70.",
        "close_in_bands": "The close is above the upper Bollinger band.",
    }
    assert (shown["rsi_to_50"].value, shown["rsi_to_50"].vote) == (12.0, -0.6)
    assert recommend(RISING).version == VERSION


def test_what_is_not_known_is_said():
    for one in recommend(NOTHING_KNOWN).contributions:
        assert (one.value, one.vote) == (None, None)
        assert one.reason.endswith(" is not known.")


def test_a_price_that_is_not_above_0_says_nothing_of_averages():
    shown = {one.name: one.vote for one in recommend(known(close=-5.0)).contributions}
    assert [shown[name] for name in ("close_to_sma_200", "close_to_sma_50", "macd_to_signal")] == [None] * 3


@given(indicators())
def test_confidence_and_votes_keep_their_bounds(found):
    action, confidence, contributions, _version = recommend(found)
    assert action is None or action in Action
    assert 0 <= confidence <= 1
    assert all(one.vote is None or -1 <= one.vote <= 1 for one in contributions)
    assert math.fsum(one.weight for one in contributions) == pytest.approx(1)


@given(indicators())
def test_the_same_indicators_give_the_same_answer(found):
    assert recommend(found) == recommend(found)


@given(indicators(), st.sampled_from(list(NEEDED)))
def test_one_value_less_never_makes_it_surer_and_never_turns_it_into_another(found, name):
    before, after = recommend(found), recommend(found._replace(**{name: None}))
    assert after.confidence <= before.confidence
    assert after.action in (before.action, None)


@given(indicators(), st.floats(-1e4, 1e4), st.floats(0, 1e4))
def test_a_higher_macd_histogram_never_speaks_for_selling(found, histogram, more):
    lower, higher = (found._replace(macd_histogram=value) for value in (histogram, histogram + more))
    assert grade(lower) <= grade(higher)


@given(indicators(), st.floats(0, 100), st.floats(0, 100))
def test_a_higher_rsi_never_speaks_for_buying(found, one, other):
    lower, higher = (found._replace(rsi_14=value) for value in sorted([one, other]))
    assert grade(higher) <= grade(lower)


@given(indicators(), prices, prices)
def test_a_higher_average_of_200_days_never_speaks_for_buying(found, one, other):
    lower, higher = (found._replace(sma_200=value) for value in sorted([one, other]))
    assert grade(higher) <= grade(lower)
