"""Why a job has its priority: the trigger's rule, moved within its queue's band by what is known of user and stock."""

import json
import math
import random
import threading
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from market.freshness import Freshness
from market.jobs.kinds import place_of
from market.models import PriceBar, Stock
from market.prices.store import store_history
from market.prices.volatility import realised_volatility, volatility_factor
from market.sources.base import Bar, History
from portfolio import celery_tasks
from portfolio.factors import age_factor, factors_for, percentiles_of, value_portfolios
from portfolio.fetching import fetch_stale_holdings
from portfolio.models import Holding, LoginDay, Portfolio
from tasks.job_types import Place
from tasks.models import Job
from tasks.priority import BANDS, Factors, explain, priority_for, rank

FOREGROUND, FETCH, ANALYSIS = Job.Queue.FOREGROUND, Job.Queue.BACKGROUND_FETCH, Job.Queue.BACKGROUND_ANALYSIS
REQUEST, SCHEDULE = Job.Trigger.USER_REQUEST, Job.Trigger.SCHEDULED_UPDATE
NOW = datetime(2026, 3, 9, 12, 30, tzinfo=UTC)
LIMIT = timedelta(minutes=30)
ALL_OPEN = Freshness(NOW, {})


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


# Volatility


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
        store_history(history([*closes[:-1], 50.0]), NOW)
    stock.refresh_from_db()
    assert stock.volatility == realised_volatility([*closes[:-1], 50.0])
    assert len(one_new) == len(nothing_new) + 1  # the write
    with CaptureQueriesContext(connection) as short:
        store_history(history([51.0], first=date(2026, 1, 30)), NOW)
    stock.refresh_from_db()
    assert stock.volatility == realised_volatility([*closes[:-1], 51.0])
    assert len(short) == len(nothing_new) + 2  # and the closes


# Age


@pytest.mark.parametrize(
    ("limits", "factor"), [(0, 0.0), (0.5, 0.25), (1, 0.5), (2, 1.0), (2.5, 1.0), (-1, 0.0)], ids=str
)
def test_the_age_counts_from_just_checked_to_twice_the_limit(limits, factor):
    assert age_factor(NOW - limits * LIMIT, NOW, LIMIT) == pytest.approx(factor)


def test_a_stock_that_was_never_checked_is_as_old_as_can_be():
    assert age_factor(None, NOW, LIMIT) == 1.0


def test_with_a_limit_of_nothing_everything_is_old():
    assert age_factor(NOW, NOW, timedelta(0)) == 1.0


# Activity


def logged_in(user: User, *days_ago: int, now: datetime = NOW) -> None:
    LoginDay.objects.bulk_create(LoginDay(user=user, date=now.date() - timedelta(days=ago)) for ago in days_ago)


def activity(user: User) -> float | None:
    return factors_for(user, [Stock(symbol="AAPL")], ALL_OPEN)["AAPL"].user_activity


@pytest.mark.parametrize(
    ("days_ago", "days"), [([], 0), ([0], 1), ([13], 1), ([14], 0), ([0, 5, 13, 14, 20], 3), (range(30), 14)], ids=str
)
def test_activity_is_the_share_of_the_last_14_days_with_a_login(user, days_ago, days):
    logged_in(user, *days_ago)
    assert activity(user) == days / 14


def test_the_logins_of_others_do_not_count(user):
    other = User.objects.create_user("other")
    logged_in(other, 0, 1, 2)
    assert activity(user) == 0


def test_logins_of_one_day_are_one_day(user, client):
    for _ in range(3):
        assert client.login(username=user.username, password="secret")
    days = LoginDay.objects.values_list("user", "date")
    assert list(days) == [(user.pk, timezone.now().date())]


def test_noting_a_login_is_one_statement_the_first_time_and_later(user, hold):
    hold(user, "AAPL")
    for _ in range(2):
        with CaptureQueriesContext(connection) as queries:
            fetch_stale_holdings(user)
        writes = [query["sql"] for query in queries if query["sql"].startswith("INSERT")]
        statements = [sql for sql in writes if LoginDay._meta.db_table in sql]
        assert len(statements) == 1


# Value


@pytest.mark.parametrize(
    ("values", "percentiles"),
    [
        ([], []),
        ([5.0], [0.5]),
        ([1.0, 2.0, 3.0], [0.0, 0.5, 1.0]),
        ([3.0, 1.0, 2.0], [1.0, 0.0, 0.5]),
        ([7.0, 7.0], [0.5, 0.5]),
        ([7.0, 7.0, 7.0], [0.5, 0.5, 0.5]),
        ([1.0, 5.0, 5.0, 9.0], [0.0, 0.5, 0.5, 1.0]),
        ([1.0, 1.0, 9.0], [0.25, 0.25, 1.0]),
    ],
)
def test_a_percentile_is_the_share_of_the_others_worth_less_and_ties_get_the_mean(values, percentiles):
    assert percentiles_of(values) == percentiles


@given(st.lists(st.floats(-1e9, 1e9), min_size=2))
def test_percentiles_agree_with_pandas(values):
    expected = (pd.Series(values).rank(method="average") - 1) / (len(values) - 1)
    assert percentiles_of(values) == pytest.approx(list(expected))


def portfolio_of(username: str, *holdings: tuple[str, int, int], name: str = "Main") -> Portfolio:
    """Holdings are (symbol, shares, buy price)."""
    user, _ = User.objects.get_or_create(username=username)
    portfolio = Portfolio.objects.create(user=user, name=name)
    for symbol, shares, price in holdings:
        stock, _ = Stock.objects.get_or_create(symbol=symbol)
        Holding.objects.create(portfolio=portfolio, stock=stock, shares=Decimal(shares), buy_price=Decimal(price))
    return portfolio


def closed(symbol: str, *closes: float) -> None:
    """The stock's closes, oldest first; the last one is today's."""
    stock = Stock.objects.get(symbol=symbol)
    for ago, close in enumerate(reversed(closes)):
        PriceBar.objects.create(stock=stock, date=NOW.date() - timedelta(days=ago), close=close)


@pytest.mark.django_db
def test_portfolios_are_worth_their_last_closes_or_what_they_cost():
    empty = portfolio_of("nobody")
    priced = portfolio_of("ann", ("AAPL", 10, 1), ("MSFT", 2, 1))
    unpriced = portfolio_of("bob", ("NEW", 3, 100))
    mixed = portfolio_of("cy", ("AAPL", 1, 1), ("NEW", 1, 50))
    closed("AAPL", 5.0, 20.0)
    closed("MSFT", 30.0)

    assert value_portfolios() == 4

    found = {portfolio.pk: (portfolio.value, portfolio.value_percentile) for portfolio in Portfolio.objects.all()}
    assert found == {
        empty.pk: (0.0, 0.0),
        mixed.pk: (70.0, pytest.approx(1 / 3)),
        priced.pk: (260.0, pytest.approx(2 / 3)),
        unpriced.pk: (300.0, 1.0),
    }


@pytest.mark.django_db
def test_without_a_buy_price_a_holding_is_worth_its_last_close_or_nothing():
    portfolio = portfolio_of("ann", ("AAPL", 10, 1), ("NEW", 1, 1))
    Holding.objects.update(buy_price=None)
    closed("AAPL", 20.0)
    value_portfolios()
    portfolio.refresh_from_db()
    assert portfolio.value == 200.0


@pytest.mark.django_db
def test_valuing_changes_nothing_else_and_follows_the_prices():
    portfolio = portfolio_of("ann", ("AAPL", 10, 1))
    value_portfolios()
    closed("AAPL", 7.0)
    value_portfolios()
    portfolio.refresh_from_db()
    assert (portfolio.name, portfolio.user.username) == ("Main", "ann")
    assert (portfolio.value, portfolio.value_percentile) == (70.0, 0.5)
    assert Portfolio.objects.count() == 1


@pytest.mark.django_db
def test_there_may_be_no_portfolio_to_value():
    assert value_portfolios() == 0


@pytest.mark.django_db
def test_valuing_takes_the_same_number_of_queries_for_1_and_50_portfolios():
    counts = []
    for size in (1, 49):
        for number in range(size):
            portfolio_of(f"holder{size}-{number}", (f"S{number}", 1, 1), ("AAPL", 1, 1))
        with CaptureQueriesContext(connection) as queries:
            value_portfolios()
        counts.append(len(queries))
    assert counts[0] == counts[1]


@pytest.mark.django_db(transaction=True)
def test_a_portfolio_that_is_deleted_meanwhile_does_not_come_back():
    portfolio_of("ann")

    def delete() -> None:
        Portfolio.objects.all().delete()
        connection.close()

    deletion = threading.Thread(target=delete)

    def delete_before_the_write(execute, sql, params, many, context):
        if sql.startswith("INSERT"):
            deletion.start()
            deletion.join(0.3)  # it waits for the lock: only without one it ends here
        return execute(sql, params, many, context)

    with connection.execute_wrapper(delete_before_the_write):
        value_portfolios()
    deletion.join(30)

    assert not deletion.is_alive()
    assert not Portfolio.objects.exists()


@pytest.mark.django_db
def test_the_task_values_portfolios_and_forgets_logins_that_count_no_more(user):
    portfolio = portfolio_of("ann", ("AAPL", 10, 1))
    logged_in(user, 0, 13, 14, 100, now=timezone.now())

    celery_tasks.value_portfolios.apply().get()

    portfolio.refresh_from_db()
    assert portfolio.value == 10.0
    assert LoginDay.objects.count() == 2


# All of them


@pytest.mark.django_db
def test_the_factors_of_a_users_stocks_come_from_real_rows():
    small = portfolio_of("ann", ("AAPL", 1, 10), ("BOTH", 1, 1))
    portfolio_of("ann", ("MSFT", 100, 10), ("BOTH", 1, 1), name="Large")
    portfolio_of("bob", ("AAPL", 50, 10))
    value_portfolios()
    logged_in(small.user, *range(7))
    Stock.objects.filter(symbol="AAPL").update(checked_at=NOW - LIMIT, volatility=0.4)
    Stock.objects.create(symbol="OTHER", checked_at=NOW, volatility=3.0)

    assert factors_for(small.user, Stock.objects.all(), ALL_OPEN) == {
        "AAPL": Factors(0.5, 0.0, 0.5, 0.4),
        "MSFT": Factors(0.5, 1.0, 1.0, None),
        "BOTH": Factors(0.5, 1.0, 1.0, None),
        "OTHER": Factors(0.5, None, 0.0, 1.0),
    }


@pytest.mark.django_db
def test_where_nobody_asks_only_the_stock_counts():
    portfolio_of("ann", ("AAPL", 1, 10))
    value_portfolios()
    assert factors_for(None, Stock.objects.all(), ALL_OPEN) == {"AAPL": Factors(None, None, 1.0, None)}


def test_before_the_first_valuation_the_value_is_not_known(user, hold):
    stocks = hold(user, "AAPL")
    assert factors_for(user, stocks, ALL_OPEN)["AAPL"].portfolio_value is None


def test_factors_take_two_queries_for_any_number_of_stocks_and_none_without_a_user(
    user, hold, django_assert_num_queries
):
    stocks = hold(user, *(f"S{number}" for number in range(100)))
    for some in (stocks[:1], stocks):
        with django_assert_num_queries(2):
            factors_for(user, some, ALL_OPEN)
        with django_assert_num_queries(0):
            factors_for(None, some, ALL_OPEN)


# The admin


def test_the_admin_shows_values_and_volatilities_but_does_not_let_them_be_edited(admin_client, admin_user):
    portfolio = portfolio_of("ann", ("AAPL", 1234, 10))
    portfolio_of("bob")
    value_portfolios()
    stock = Stock.objects.get()
    Stock.objects.update(volatility=0.35)

    for page in ("/admin/portfolio/portfolio/", f"/admin/portfolio/portfolio/{portfolio.pk}/change/"):
        shown = admin_client.get(page).content.decode()
        assert "12,340.00" in shown
        assert "100% of the other portfolios" in shown
        assert 'name="value"' not in shown
    for page in ("/admin/market/stock/", f"/admin/market/stock/{stock.pk}/change/"):
        shown = admin_client.get(page).content.decode()
        assert "35%" in shown
        assert 'name="volatility"' not in shown
