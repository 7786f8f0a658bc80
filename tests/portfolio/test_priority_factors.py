"""A priority has these factors: the age of a stock's data, a user's activity, and the value of a portfolio."""

import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pandas as pd
import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from market.freshness import Freshness
from market.models import PriceBar, Stock
from portfolio import celery_tasks
from portfolio.factors import age_factor, factors_for, percentiles_of, value_portfolios
from portfolio.fetching import fetch_stale_holdings
from portfolio.models import Holding, LoginDay, Portfolio
from tasks.priority import Factors

NOW = datetime(2026, 3, 9, 12, 30, tzinfo=UTC)
LIMIT = timedelta(minutes=30)
ALL_OPEN = Freshness(NOW, {})


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
