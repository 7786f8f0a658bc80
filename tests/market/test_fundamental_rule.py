"""From fundamentals to BUY, HOLD or SELL: the rule's answers, its reasons, and what holds for any fundamentals."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.analysis.fundamental.rule import VERSION, recommend_by_fundamentals
from market.recommendation import THRESHOLD, Action
from market.sources.base import Fundamentals

MEASURED = (
    "trailing_pe",
    "trailing_eps",
    "profit_margin",
    "return_on_equity",
    "revenue_growth",
    "earnings_growth",
    "debt_to_equity",
)

some = st.floats(-1e17, 1e17) | st.floats(-3, 3)
fundamentals = st.builds(Fundamentals, **{name: st.none() | some for name in MEASURED})
limits = st.builds(Fundamentals, **{name: st.sampled_from([0.0, 0.05, 0.1, 0.2, 1.0, 2.0]) for name in MEASURED})
any_fundamentals = fundamentals | limits

SOUND = Fundamentals(
    trailing_pe=12.5,
    profit_margin=0.16,
    return_on_equity=0.22,
    revenue_growth=0.08,
    earnings_growth=0.12,
    debt_to_equity=0.6,
)
AILING = Fundamentals(
    trailing_eps=-0.4,
    profit_margin=-0.04,
    return_on_equity=-0.09,
    revenue_growth=-0.01,
    earnings_growth=-0.15,
    debt_to_equity=1.8,
)
MIDDLING = Fundamentals(
    trailing_pe=20.0,
    profit_margin=0.05,
    return_on_equity=0.10,
    revenue_growth=0.05,
    earnings_growth=0.05,
    debt_to_equity=1.0,
)
NOTHING_KNOWN = Fundamentals(market_cap=1e12)


def grade(found: Fundamentals) -> float:
    """-2 for a sure SELL to 2 for a sure BUY; 0 for HOLD, and without a recommendation."""
    action, confidence, *_ = recommend_by_fundamentals(found)
    return {Action.BUY: 1 + confidence, Action.HOLD: 0, None: 0, Action.SELL: -1 - confidence}[action]


def vote(found: Fundamentals, name: str) -> float | None:
    (vote,) = (one.vote for one in recommend_by_fundamentals(found).contributions if one.name == name)
    return vote


@pytest.mark.parametrize(
    ("found", "action"),
    [(SOUND, Action.BUY), (AILING, Action.SELL), (MIDDLING, Action.HOLD)],
    ids=["sound", "ailing", "middling"],
)
def test_a_sound_company_is_bought_an_ailing_one_sold_and_one_between_held(found, action):
    assert recommend_by_fundamentals(found).action == action


def test_the_confidence_is_the_sum_of_the_votes_beyond_the_threshold():
    votes = 0.25 * 3 / 5 + 0.15 * (11 / 15 + 12 / 15 + 3 / 15 + 7 / 25 + 0.4)
    assert recommend_by_fundamentals(SOUND).confidence == pytest.approx(
        (votes - THRESHOLD) / (1 - THRESHOLD), abs=1e-4
    )


def test_to_hold_what_is_in_the_middle_is_certain():
    assert recommend_by_fundamentals(MIDDLING)[:2] == (Action.HOLD, 1.0)


@pytest.mark.parametrize("found", [NOTHING_KNOWN, Fundamentals(trailing_pe=20.0), Fundamentals(profit_margin=0.5)])
def test_too_little_known_recommends_nothing(found):
    assert recommend_by_fundamentals(found)[:2] == (None, 0.0)


@pytest.mark.parametrize(
    ("name", "against", "middle", "full"),
    [
        ("profit_margin", -0.10, 0.05, 0.20),
        ("return_on_equity", -0.05, 0.10, 0.25),
        ("revenue_growth", -0.10, 0.05, 0.20),
        ("earnings_growth", -0.20, 0.05, 0.30),
        ("debt_to_equity", 2.0, 1.0, 0.0),
    ],
)
def test_votes_are_full_at_the_documented_limits_and_beyond(name, against, middle, full):
    votes = [vote(Fundamentals(**{name: value}), name) for value in (against, middle, full)]
    assert votes == [pytest.approx(-1), 0, pytest.approx(1)]
    beyond = 2 * against - middle
    assert vote(Fundamentals(**{name: beyond}), name) == -1


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({"trailing_pe": 10.0}, 1.0),
        ({"trailing_pe": 5.0}, 1.0),
        ({"trailing_pe": 20.0}, 0.0),
        ({"trailing_pe": 1e17}, -1.0),
        ({"trailing_pe": -8.0}, -1.0),
        ({"trailing_eps": -0.01}, -1.0),
        ({"trailing_eps": 2.5}, None),
        ({"trailing_eps": 0.0}, None),
        ({"trailing_pe": 0.0}, None),
        ({"trailing_pe": 0.0, "trailing_eps": -1.0}, -1.0),
        ({"trailing_pe": 10.0, "trailing_eps": -1.0}, 1.0),
        ({}, None),
    ],
)
def test_a_loss_is_fully_against_and_without_earnings_and_price_there_is_no_vote(known, expected):
    assert vote(Fundamentals(**known), "earnings_yield") == (None if expected is None else pytest.approx(expected))


def test_a_price_of_losses_is_told_as_a_loss():
    of_losses = recommend_by_fundamentals(Fundamentals(trailing_pe=-8.0)).contributions[0]
    assert (of_losses.value, of_losses.reason) == (-0.125, "The company made a loss in the last four quarters.")


def test_a_debt_to_an_equity_that_is_used_up_is_not_known():
    assert vote(Fundamentals(debt_to_equity=-3.0), "debt_to_equity") is None
    assert vote(Fundamentals(debt_to_equity=0.0), "debt_to_equity") == 1


@pytest.mark.parametrize(
    ("found", "reasons"),
    [
        (
            SOUND,
            [
                "A year's earnings are 8.0% of the price (P/E 12.5).",
                "The profit is 16.0% of the revenue.",
                "A year's profit is 22.0% of the equity.",
                "The last quarter's revenue is 8.0% higher than a year before.",
                "The last quarter's earnings are 12.0% higher than a year before.",
                "The debt is 0.60 times the equity.",
            ],
        ),
        (
            AILING,
            [
                "The company made a loss in the last four quarters.",
                "The loss is 4.0% of the revenue.",
                "A year's loss is 9.0% of the equity.",
                "The last quarter's revenue is 1.0% lower than a year before.",
                "The last quarter's earnings are 15.0% lower than a year before.",
                "The debt is 1.80 times the equity.",
            ],
        ),
        (
            NOTHING_KNOWN,
            [
                "The earnings yield is not known.",
                "The profit margin is not known.",
                "The return on equity is not known.",
                "The growth of the revenue is not known.",
                "The growth of the earnings is not known.",
                "The debt's ratio to the equity is not known.",
            ],
        ),
    ],
    ids=["sound", "ailing", "nothing known"],
)
def test_each_signal_gives_its_reason_in_words(found, reasons):
    found = recommend_by_fundamentals(found)
    assert [one.reason for one in found.contributions] == reasons
    assert found.version == VERSION


@given(any_fundamentals)
def test_confidence_and_votes_keep_their_bounds(found):
    action, confidence, contributions, _version = recommend_by_fundamentals(found)
    assert action is None or action in Action
    assert 0 <= confidence <= 1
    assert all(one.vote is None or -1 <= one.vote <= 1 for one in contributions)
    assert math.fsum(one.weight for one in contributions) == pytest.approx(1)


@given(any_fundamentals)
def test_the_same_fundamentals_give_the_same_answer(found):
    assert recommend_by_fundamentals(found) == recommend_by_fundamentals(found)


@given(any_fundamentals, st.sampled_from(MEASURED))
def test_one_value_less_never_makes_it_surer_and_never_turns_hold_into_something_else(found, name):
    if name == "trailing_pe":  # without it, earnings that are known to be a loss are an answer of their own
        found = found._replace(trailing_eps=None)
    before, after = recommend_by_fundamentals(found), recommend_by_fundamentals(found._replace(**{name: None}))
    assert after.confidence <= before.confidence
    assert after.action in (before.action, None)


@given(
    any_fundamentals,
    st.sampled_from(["profit_margin", "return_on_equity", "revenue_growth", "earnings_growth", "trailing_eps"]),
    some,
    some,
)
def test_a_higher_margin_return_growth_or_profit_never_speaks_for_selling(found, name, one, other):
    lower, higher = (found._replace(**{name: value}) for value in sorted([one, other]))
    assert grade(lower) <= grade(higher)


@given(any_fundamentals, st.floats(0.01, 1e17), st.floats(0.01, 1e17) | st.floats(-1e17, -0.01))
def test_a_lower_price_for_the_same_profit_never_speaks_for_selling_and_a_loss_never_for_buying(found, one, other):
    cheaper, dearer = (found._replace(trailing_pe=value) for value in sorted([one, other], key=lambda pe: -1 / pe))
    assert grade(dearer) <= grade(cheaper)


@given(any_fundamentals, st.floats(0, 1e17) | st.floats(0, 3), st.floats(0, 1e17) | st.floats(0, 3))
def test_more_debt_never_speaks_for_buying(found, one, other):
    less, more = (found._replace(debt_to_equity=value) for value in sorted([one, other]))
    assert grade(more) <= grade(less)
