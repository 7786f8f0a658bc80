"""A login asks for exactly what is stale, and is never in the way of the login itself."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from market.models import PriceBar, Stock
from portfolio.fetching import fetch_stale_holdings
from portfolio.models import Holding, Login, Portfolio, PortfolioPriority
from tasks.models import Job, JobEvent, JobRequest
from tests.support.promptly import promptly

FRESH = timedelta(minutes=1)


LIMIT = timedelta(minutes=30)
"""The shipped file's, at an exchange that is open or not known."""


def log_in(user, client=None) -> None:
    assert (client or Client()).login(username=user.username, password="secret")


def checked(symbols, ago: timedelta) -> None:
    Stock.objects.filter(symbol__in=symbols).update(checked_at=timezone.now() - ago)


def asked_for() -> list[str]:
    return list(Job.objects.order_by("symbol").values_list("symbol", flat=True))


def test_a_login_asks_for_every_stock_that_was_never_checked(user, hold):
    hold(user, "AAPL", "MSFT")
    log_in(user)
    assert asked_for() == ["AAPL", "MSFT"]


def test_a_job_says_why_it_exists_and_how_urgent_it_is(user, hold):
    hold(user, "AAPL")
    log_in(user)
    job = Job.objects.get()
    assert (job.job_type, job.subtype, job.trigger) == ("stock_fetch", "portfolio_priority", "user_login")
    assert (job.queue, job.priority, job.status, job.user) == ("foreground", 1, "pending", user)
    assert job.parameters == {
        "symbol": "AAPL",
        "days": 30,
        "source": "yahoo_finance",
        "triggered_by": "user_login",
        "data_age_minutes": None,
    }
    assert JobEvent.objects.get().event == "created"
    assert JobRequest.objects.get().user == user


def test_a_second_login_straight_away_queues_nothing(user, hold):
    hold(user, "AAPL", "MSFT")
    log_in(user)
    before = set(Job.objects.values_list("pk", flat=True))
    log_in(user)
    assert set(Job.objects.values_list("pk", flat=True)) == before


def test_a_login_with_one_stale_holding_of_five_asks_for_that_one(user, hold):
    hold(user, "AAPL", "MSFT", "ABEO", "AXGN", "CADL")
    checked(["AAPL", "MSFT", "ABEO", "CADL"], FRESH)
    checked(["AXGN"], LIMIT)
    log_in(user)
    assert asked_for() == ["AXGN"]


def test_a_stock_is_fresh_until_its_limit(user, hold, settings):
    hold(user, "AAPL")
    checked(["AAPL"], LIMIT - timedelta(seconds=20))
    log_in(user)
    assert asked_for() == []


def test_the_limit_is_the_configured_one(user, hold, configure):
    configure(**{"stock_jobs.portfolio_priority.data_staleness_threshold": 5})
    hold(user, "AAPL")
    checked(["AAPL"], timedelta(minutes=6))
    log_in(user)
    assert asked_for() == ["AAPL"]


def test_a_login_asks_for_nothing_that_others_hold(user, hold, django_user_model):
    other = django_user_model.objects.create_user("other", password="secret")
    hold(other, "MSFT")
    hold(user, "AAPL")
    log_in(user)
    assert asked_for() == ["AAPL"]


def test_the_largest_holding_is_asked_for_first(user, hold):
    small, large, unpriced = hold(user, "SMALL", "LARGE", "UNPRICED")
    today = timezone.now().date()
    PriceBar.objects.create(stock=small, date=today, close=1.0)
    PriceBar.objects.create(stock=large, date=today - timedelta(days=1), close=1.0)
    PriceBar.objects.create(stock=large, date=today, close=500.0)
    Holding.objects.filter(stock=unpriced).update(buy_price=20)
    requested = fetch_stale_holdings(user)
    assert [job.symbol for job in requested.created] == ["LARGE", "UNPRICED", "SMALL"]


def test_a_holding_of_unknown_price_and_cost_is_asked_for_last(user, hold):
    unknown, priced, _small = hold(user, "UNKNOWN", "PRICED", "SMALL")
    PriceBar.objects.create(stock=priced, date=timezone.now().date(), close=500.0)
    Holding.objects.filter(stock__in=[unknown, priced]).update(buy_price=None)
    assert [job.symbol for job in fetch_stale_holdings(user).created] == ["PRICED", "SMALL", "UNKNOWN"]


def test_of_holdings_of_one_size_the_one_that_the_user_has_cared_about_for_longer_is_asked_for_first(user, hold):
    hold(user, "LONG")
    log_in(user)
    hold(user, "NEW")
    log_in(user)
    Job.objects.all().delete()
    assert [job.symbol for job in fetch_stale_holdings(user).created] == ["LONG", "NEW"]
    PortfolioPriority.objects.filter(stock__symbol="NEW").update(priority_score=1000)
    Job.objects.all().delete()
    assert [job.symbol for job in fetch_stale_holdings(user).created] == ["NEW", "LONG"]


def test_size_counts_before_the_score_and_the_score_of_others_not_at_all(user, hold, django_user_model):
    hold(user, "LARGE", "SMALL")
    PortfolioPriority.objects.create(user=user, stock=Stock.objects.get(symbol="SMALL"), priority_score=9000)
    assert [job.symbol for job in fetch_stale_holdings(user).created] == ["LARGE", "SMALL"]
    Holding.objects.update(buy_price=1)
    other = django_user_model.objects.create_user("other")
    PortfolioPriority.objects.create(user=other, stock=Stock.objects.get(symbol="LARGE"), priority_score=99_000)
    Job.objects.all().delete()
    assert [job.symbol for job in fetch_stale_holdings(user).created] == ["SMALL", "LARGE"]


def test_one_stock_in_two_portfolios_counts_with_both(user, hold):
    hold(user, "AAPL", "MSFT")
    second = Portfolio.objects.create(user=user, name="Second")
    Holding.objects.create(portfolio=second, stock=Stock.objects.get(symbol="MSFT"), shares=10, buy_price=5)
    requested = fetch_stale_holdings(user)
    assert [job.symbol for job in requested.created] == ["MSFT", "AAPL"]


def test_a_request_for_a_stock_on_its_way_joins_that_job(user, hold, django_user_model):
    other = django_user_model.objects.create_user("other", password="secret")
    hold(user, "AAPL")
    hold(other, "AAPL", "MSFT")
    log_in(user)
    requested = fetch_stale_holdings(other)
    assert [job.symbol for job in requested.created] == ["MSFT"]
    assert [job.symbol for job in requested.joined] == ["AAPL"]
    requesters = JobRequest.objects.filter(job__symbol="AAPL").values_list("user__username", flat=True)
    assert list(requesters) == [user.username, "other"]
    assert Job.objects.filter(symbol="AAPL").count() == 1


@pytest.mark.parametrize("situation", ["all stale", "all on their way"])
def test_a_login_takes_the_same_number_of_queries_for_1_10_and_100_holdings(
    django_user_model, hold, situation, broker, django_capture_on_commit_callbacks
):
    counts = []
    for size in (1, 10, 100):
        user = django_user_model.objects.create_user(f"holds{size}", password="secret")
        hold(user, *(f"S{number}" for number in range(size)))
        Job.objects.all().delete()
        if situation == "all on their way":
            fetch_stale_holdings(user)
        with (
            CaptureQueriesContext(
                connection,
            ) as queries,
            django_capture_on_commit_callbacks(execute=True),
        ):
            fetch_stale_holdings(user)
        counts.append(len(queries))
    assert len(set(counts)) == 1, counts


def test_the_first_login_scores_100_and_each_later_one_adds_the_boost(user, hold):
    hold(user, "AAPL")
    scores = []
    for _ in range(3):
        log_in(user)
        scores.append(PortfolioPriority.objects.get().priority_score)
    assert scores == [100, 110, 120]


def test_a_stock_that_was_sold_is_not_tracked_as_active(user, hold):
    hold(user, "AAPL", "MSFT")
    log_in(user)
    Holding.objects.filter(stock__symbol="MSFT").delete()
    log_in(user)
    active = PortfolioPriority.objects.filter(is_active=True).values_list("stock__symbol", flat=True)
    assert list(active) == ["AAPL"]


def test_a_login_without_holdings_asks_for_nothing(user):
    log_in(user)
    assert asked_for() == []


def test_a_login_is_recorded_with_the_number_of_stale_stocks_and_without_its_user(user, hold):
    hold(user, "FRESH", "STALE", "NEVER", "PARKED")
    checked(["FRESH", "PARKED"], FRESH)
    checked(["STALE"], LIMIT)
    Stock.objects.filter(symbol="PARKED").update(status="unknown")
    before = timezone.now()
    log_in(user)
    login = Login.objects.get()
    assert (login.stocks, login.stale) == (3, 2)
    assert before <= login.at <= timezone.now()
    assert {field.name for field in Login._meta.get_fields()} == {"id", "at", "stocks", "stale"}


def test_a_stock_in_two_portfolios_is_recorded_once(user, hold):
    (stock,) = hold(user, "AAPL")
    Holding.objects.create(portfolio=Portfolio.objects.create(user=user, name="Second"), stock=stock, shares=1)
    log_in(user)
    assert list(Login.objects.values_list("stocks", "stale")) == [(1, 1)]


def test_a_login_without_a_stock_to_fetch_is_not_recorded(user, hold):
    log_in(user)
    hold(user, "PARKED")
    Stock.objects.update(status="delisted")
    log_in(user)
    assert not Login.objects.exists()


def test_a_login_whose_stocks_are_on_their_way_already_is_recorded_as_stale(user, hold):
    hold(user, "AAPL")
    log_in(user)
    log_in(user)
    assert list(Login.objects.values_list("stocks", "stale")) == [(1, 1), (1, 1)]


@pytest.mark.django_db(transaction=True)
def test_a_login_works_while_no_broker_answers_and_its_jobs_wait(user, hold, client):
    hold(user, "AAPL", "MSFT")
    log_in(user, client)
    assert client.get("/").status_code == 200
    assert list(Job.objects.values_list("status", flat=True)) == ["pending", "pending"]


@pytest.mark.django_db(transaction=True)
def test_a_login_is_not_failed_by_an_error_in_asking(user, hold, client, caplog):
    hold(user, "AAPL")
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE tasks_job RENAME TO tasks_job_away")
    try:
        log_in(user, client)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE tasks_job_away RENAME TO tasks_job")
    assert "the stale stocks could not be enqueued" in caplog.text
    assert not Login.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("state", ["stopped", "paused"])
def test_the_receiver_returns_in_time_while_redis_is(state, user, hold, new_redis, point_to):
    hold(user, *(f"S{number}" for number in range(100)))
    point_to(new_redis.url)
    new_redis.stop() if state == "stopped" else new_redis.pause()
    with promptly():
        fetch_stale_holdings(user)
    assert set(Job.objects.values_list("status", flat=True)) == {"pending"}


@pytest.mark.django_db(transaction=True)
def test_the_receiver_returns_in_time_when_redis_stops_answering_later(user, hold, new_redis, point_to):
    hold(user, *(f"S{number}" for number in range(100)))
    point_to(new_redis.url)
    fetch_stale_holdings(user)
    assert set(Job.objects.values_list("status", flat=True)) == {"queued", "pending"}
    Job.objects.all().delete()
    new_redis.pause()
    with promptly():
        fetch_stale_holdings(user)


@pytest.mark.parametrize("value", [r'"aaaaaaaaa\000"', r'"aaaaaaaaa\377"', "a" * 4_000, "", "short"])
@pytest.mark.parametrize("address", ["/", "/accounts/login/", "/live/?since=1764000000"])
def test_a_forged_session_cookie_is_no_session(client, db, address, value):
    page = client.get(address, headers={"Cookie": f"sessionid={value}"})
    assert page.status_code == 200 if address == "/accounts/login/" else page.url.startswith("/accounts/login/")
