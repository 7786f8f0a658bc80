"""A job's priority is the trigger's rule, moved within its queue's band by what is known of user and stock."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.jobs.kinds import place_of
from tasks.job_types import Place
from tasks.models import Job
from tasks.priority import BANDS, Factors, explain, priority_for, rank

FOREGROUND, FETCH, ANALYSIS = Job.Queue.FOREGROUND, Job.Queue.BACKGROUND_FETCH, Job.Queue.BACKGROUND_ANALYSIS
REQUEST, SCHEDULE = Job.Trigger.USER_REQUEST, Job.Trigger.SCHEDULED_UPDATE


def all_of(value: float | None) -> Factors:
    return Factors(value, value, value, value)


def use_weights(configure, **weights: float) -> None:
    configure(**{f"portfolio.priority_factors.{name}": weight for name, weight in weights.items()})


@pytest.fixture
def only_activity(configure):
    """The score is the user's activity."""
    use_weights(configure, user_activity=1.0, portfolio_value=0.0, data_age=0.0, market_volatility=0.0)
    configure(**{"jobs.priority_rules.scheduled_update": 5})


# The rank


def test_of_what_nothing_is_known_the_priority_is_the_rule():
    ranked = rank(REQUEST, FOREGROUND, Factors())
    assert (ranked.priority, ranked.reason["score"], ranked.reason["moved"]) == (3, 0.5, 0)


@pytest.mark.parametrize(
    ("score", "priority"),
    [
        *[(1.0, 4), (2 / 3 + 0.001, 4), (2 / 3, 5), (2 / 3 - 0.001, 5)],
        *[(0.5, 5), (1 / 3 + 0.001, 5), (1 / 3, 5), (1 / 3 - 0.001, 6), (0.0, 6)],
    ],
)
def test_a_score_above_two_thirds_is_one_more_urgent_and_below_one_third_one_less(only_activity, score, priority):
    ranked = rank(SCHEDULE, FETCH, Factors(user_activity=score))
    assert ranked.priority == priority
    assert ranked.reason["moved"] == priority - 5


@pytest.mark.parametrize("score", [1 / 3, 2 / 3])
def test_the_thresholds_hold_for_a_sum_of_four_products_too(score):
    assert rank(SCHEDULE, FETCH, all_of(score)).priority == 5


@pytest.mark.parametrize(
    ("trigger", "queue", "value", "priority"),
    [
        (Job.Trigger.USER_LOGIN, FOREGROUND, 1.0, 1),
        (Job.Trigger.USER_LOGIN, FOREGROUND, 0.0, 2),
        (Job.Trigger.USER_REQUEST, FOREGROUND, 1.0, 2),
        (Job.Trigger.USER_REQUEST, FOREGROUND, 0.0, 3),
        (Job.Trigger.USER_REQUEST, FETCH, 0.5, 4),
        (Job.Trigger.USER_REQUEST, FETCH, 1.0, 4),
        (Job.Trigger.MAINTENANCE, ANALYSIS, 0.0, 10),
        (Job.Trigger.MAINTENANCE, ANALYSIS, 1.0, 9),
        (Job.Trigger.MAINTENANCE, FETCH, 1.0, 5),
        (Job.Trigger.BACKGROUND_ANALYSIS, ANALYSIS, 1.0, 7),
    ],
)
def test_a_priority_stays_in_its_queues_band(trigger, queue, value, priority):
    assert rank(trigger, queue, all_of(value)).priority == priority


def test_the_weights_are_the_configured_ones(configure):
    active, poor = Factors(user_activity=1.0, portfolio_value=0.0), Factors(user_activity=0.0, portfolio_value=1.0)
    use_weights(configure, user_activity=0.7, portfolio_value=0.1)
    assert [rank(SCHEDULE, FETCH, factors).priority for factors in (active, poor)] == [4, 6]
    use_weights(configure, user_activity=0.1, portfolio_value=0.7)
    assert [rank(SCHEDULE, FETCH, factors).priority for factors in (active, poor)] == [6, 4]


def test_the_rule_is_the_configured_one(configure):
    configure(**{"jobs.priority_rules.user_request": 2})
    assert rank(REQUEST, FOREGROUND, all_of(1.0)).priority == 1


FACTOR = st.none() | st.floats(0, 1)


@given(
    trigger=st.sampled_from(list(Job.Trigger)),
    queue=st.sampled_from(list(Job.Queue)),
    factors=st.builds(Factors, FACTOR, FACTOR, FACTOR, FACTOR),
)
def test_any_factors_move_a_priority_by_at_most_one_within_the_band_and_are_explained(trigger, queue, factors):
    ranked = rank(trigger, queue, factors)
    rule = priority_for(trigger, queue)
    assert ranked.priority in BANDS[queue]
    assert ranked.priority - rule == ranked.reason["moved"]
    assert ranked.reason["moved"] in (-1, 0, 1)
    assert 0 <= ranked.reason["score"] <= 1
    assert json.loads(json.dumps(ranked.reason, allow_nan=False)) == ranked.reason
    assert explain(ranked.reason).isprintable()


@given(st.lists(st.floats(0, 1), min_size=4, max_size=4), st.integers(0, 3), st.floats(0, 1))
def test_a_larger_factor_never_makes_a_job_less_urgent(values, which, more):
    larger = [max(value, more) if index == which else value for index, value in enumerate(values)]
    assert rank(SCHEDULE, FETCH, Factors(*larger)).priority <= rank(SCHEDULE, FETCH, Factors(*values)).priority


# The reason


def test_the_reason_tells_all_that_led_to_the_priority():
    ranked = rank(REQUEST, FOREGROUND, Factors(0.92857142, 0.8, 1.0))
    assert ranked.reason == {
        "trigger": "user_request",
        "rule": 3,
        "queue": "foreground",
        "band": [1, 3],
        "base": 3,
        "score": 0.8614,
        "factors": {
            "user_activity": {"value": 0.9286, "weight": 0.4},
            "portfolio_value": {"value": 0.8, "weight": 0.3},
            "data_age": {"value": 1.0, "weight": 0.2},
            "market_volatility": {"value": None, "weight": 0.1},
        },
        "wish": -1,
        "moved": -1,
    }
    assert explain(ranked.reason) == (
        "user_request has priority 3; score 0.86 (activity 0.93 x 0.4, value 0.80 x 0.3, age 1.00 x 0.2, "
        "volatility unknown, 0.5 x 0.1) is above 2/3: one step more urgent."
    )


@pytest.mark.parametrize(
    ("trigger", "queue", "value", "begin", "end"),
    [
        (SCHEDULE, FETCH, 0.4, "scheduled_update has priority 5; score 0.40", "is from 1/3 to 2/3: unchanged."),
        (SCHEDULE, FETCH, 0.1, "scheduled_update has priority 5; score 0.10", "is below 1/3: one step less urgent."),
        (
            Job.Trigger.USER_LOGIN,
            FOREGROUND,
            0.9,
            "user_login has priority 1; score 0.90",
            "is above 2/3: unchanged, foreground has no priority more urgent than 1.",
        ),
        (
            REQUEST,
            FOREGROUND,
            0.1,
            "user_request has priority 3; score 0.10",
            "is below 1/3: unchanged, foreground has no priority less urgent than 3.",
        ),
        (
            REQUEST,
            FETCH,
            0.1,
            "user_request has priority 3; background_fetch allows 4 to 6: 4; score 0.10",
            "is below 1/3: one step less urgent.",
        ),
    ],
)
def test_a_reason_is_explained_in_a_sentence(trigger, queue, value, begin, end):
    sentence = explain(rank(trigger, queue, all_of(value)).reason)
    assert sentence.startswith(begin)
    assert sentence.endswith(end)


@pytest.mark.parametrize(
    ("kind", "trigger", "place", "base", "rule"),
    [
        ("sentiment", "background_analysis", 1, 7, 8),
        ("technical", "background_analysis", 2, 8, 8),
        ("news", "background_analysis", 4, 10, 8),
        ("sentiment", "user_request", 1, 7, 3),
        ("news", "maintenance", 4, 10, 10),
    ],
)
def test_a_kind_of_analysis_is_moved_by_its_place_before_the_score_moves_it(kind, trigger, place, base, rule):
    ranked = rank(trigger, Job.Queue.BACKGROUND_ANALYSIS, all_of(0.5), place_of({"analysis_types": [kind]}))
    assert (ranked.reason["kind"], ranked.reason["place"], ranked.reason["base"]) == (kind, place, base)
    assert ranked.priority == base
    assert explain(ranked.reason).startswith(
        f"{trigger} has priority {rule}; background_analysis allows 7 to 10, "
        f"and {kind} is number {place} of analysis_priority: "
        f"{base}; score 0.50"
    )
    less, more = (
        rank(trigger, Job.Queue.BACKGROUND_ANALYSIS, all_of(value), Place(kind, place)).priority
        for value in (0.0, 1.0)
    )
    assert (more, less) == (max(base - 1, 7), min(base + 1, 10))


def test_a_job_without_a_reason_is_explained_as_such():
    assert explain({}) == "No reason was recorded for this priority."
