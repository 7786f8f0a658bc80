""" "Refresh prices" on an owner's pages: for one stock once in a cooldown, and never in the way of other owners."""

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone

from market.jobs.requests import request_fetches
from market.models import Stock
from operations.local.child_processes import wait_until
from portfolio.fetching import fetch_portfolios
from portfolio.models import Portfolio
from portfolio.refreshing import Refreshed, refresh_prices
from tasks.enqueue import EnqueueResult
from tasks.models import Job, JobRequest
from tasks.sql import job_sql

pytestmark = pytest.mark.django_db

COOLDOWN = timedelta(seconds=60)
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


@pytest.fixture
def owner(user, hold) -> User:
    """Holds AAPL and MSFT."""
    hold(user, "AAPL", "MSFT")
    return user


@pytest.fixture
def click(owner, client):
    """click(): what the owner's page says after "Refresh prices"."""
    client.force_login(owner)
    Job.objects.all().delete()

    def click(address: str = "/refresh/") -> str:
        return client.post(address, follow=True).content.decode()

    return click


def end_all() -> None:
    """Under the lock of admission: the two would lock the same rows in different orders."""
    with transaction.atomic():
        job_sql().lock("turns in foreground")
        Job.objects.active().update(status=Job.Status.COMPLETED, finished_at=timezone.now())


def let_pass(time: timedelta) -> None:
    for request in JobRequest.objects.all():
        JobRequest.objects.filter(pk=request.pk).update(created_at=request.created_at - time)


def fetched() -> list[str]:
    return sorted(Job.objects.values_list("symbol", flat=True))


def test_refreshes_in_a_loop_make_one_round_of_fetches_in_a_cooldown(click):
    for _ in range(5):
        shown = click()
        end_all()
        let_pass(timedelta(seconds=5))
    assert fetched() == ["AAPL", "MSFT"]
    told = re.search(r"The last refresh was (\d+) s ago; the next refresh is possible in (\d+) s\.", shown)
    assert told
    assert int(told[1]) + int(told[2]) in (60, 61)


def test_the_login_of_another_owner_comes_behind_one_round_of_a_loop_at_most(click, hold, django_user_model):
    other = django_user_model.objects.create_user("other")
    hold(other, "IINN")
    for _ in range(5):
        click()
        end_all()
    Client().force_login(other)
    login = Job.objects.get(symbol="IINN")
    assert Job.objects.filter(created_at__lt=login.created_at).count() == 2


def test_a_refresh_after_the_cooldown_fetches_again(click):
    click()
    end_all()
    let_pass(COOLDOWN)
    assert "Refresh: queued AAPL, MSFT." in click()
    assert fetched() == ["AAPL", "AAPL", "MSFT", "MSFT"]


def test_a_failed_fetch_can_be_refreshed_after_the_cooldown_too(click):
    click()
    Job.objects.update(status=Job.Status.FAILED, finished_at=timezone.now())
    assert "the next refresh is possible in" in click()
    let_pass(COOLDOWN)
    assert "Refresh: queued AAPL, MSFT." in click()


def test_a_cooldown_of_0_fetches_at_each_refresh(click, configured):
    configured(**{"portfolio.refresh_cooldown": 0})
    for _ in range(3):
        click()
        end_all()
    assert len(fetched()) == 6


def test_what_is_under_way_is_told_and_not_asked_for_again(click):
    click()
    before = JobRequest.objects.count()
    assert "Refresh: already requested: AAPL, MSFT." in click()
    assert JobRequest.objects.count() == before


def test_a_job_that_waits_longer_than_the_cooldown_is_joined(click):
    click()
    let_pass(COOLDOWN)
    assert "Refresh: already requested: AAPL, MSFT." in click()
    assert (len(fetched()), JobRequest.objects.count()) == (2, 4)


def test_a_stock_that_is_new_in_the_portfolio_is_fetched_within_the_cooldown(click, owner, hold):
    click()
    end_all()
    hold(owner, "IINN")
    shown = click()
    assert "Refresh: queued IINN. The last refresh of AAPL, MSFT was" in shown
    assert fetched() == ["AAPL", "IINN", "MSFT"]


def test_the_page_of_a_stock_and_the_portfolio_share_the_cooldown(click):
    click("/stocks/AAPL/refresh/")
    end_all()
    assert "The last refresh was" in click("/stocks/AAPL/refresh/")
    assert "Refresh: queued MSFT. The last refresh of AAPL was" in click()
    assert fetched() == ["AAPL", "MSFT"]


def test_only_the_owners_own_refreshes_count(click, owner, django_user_model):
    other = django_user_model.objects.create_user("other")
    stocks = list(Stock.objects.all())
    request_fetches(stocks, Job.Trigger.USER_REQUEST, other)
    request_fetches(stocks, Job.Trigger.USER_LOGIN, owner)
    request_fetches(stocks, Job.Trigger.USER_REQUEST, owner, start=date(2026, 1, 2))
    end_all()
    assert "Refresh: queued AAPL, MSFT." in click()


def test_an_operator_fetches_as_often_as_they_like(owner, admin_user):
    for _ in range(3):
        fetch_portfolios(Portfolio.objects.all(), admin_user)
        end_all()
    assert len(fetched()) == 6
    assert refresh_prices(list(Stock.objects.all()), owner).requested.created


@pytest.mark.django_db(transaction=True)
def test_many_clicks_at_once_make_one_set_of_jobs(owner):
    stocks = list(Stock.objects.all())

    def click(_number: int) -> None:
        try:
            refresh_prices(stocks, owner)
            end_all()
        finally:
            connection.close()

    with ThreadPoolExecutor(10) as threads:
        list(threads.map(click, range(100)))
    assert fetched() == ["AAPL", "MSFT"]


@pytest.mark.django_db(transaction=True)
def test_a_click_waits_for_the_click_before_it_and_then_fetches_nothing(owner):
    stocks = list(Stock.objects.all())

    def click() -> list[Job]:
        try:
            return refresh_prices(stocks, owner).requested.created
        finally:
            connection.close()

    def is_waiting() -> bool:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            return bool(cursor.fetchone()[0])

    with ThreadPoolExecutor(1) as threads:
        with transaction.atomic():
            assert len(refresh_prices(stocks, owner).requested.created) == 2
            end_all()
            second = threads.submit(click)
            if connection.vendor == "postgresql":  # on SQLite, whoever writes waits before it reads
                wait_until(is_waiting, "the second click waits")
        assert second.result() == []


@pytest.mark.parametrize(
    ("ago", "told"),
    [
        (0.2, "The last refresh was 1 s ago; the next refresh is possible in 5 min."),
        (20, "The last refresh was 20 s ago; the next refresh is possible in 4 min 40 s."),
        (299.9, "The last refresh was 5 min ago; the next refresh is possible in 1 s."),
    ],
)
def test_the_page_says_when_the_next_refresh_is_possible(ago, told):
    recent = [JobRequest(created_at=NOW - timedelta(seconds=ago))]
    assert str(Refreshed(EnqueueResult(), recent, NOW, timedelta(minutes=5))) == told


def test_a_refresh_within_the_cooldown_takes_one_query_for_2_and_100_stocks(owner, hold, django_assert_num_queries):
    steps = 3 if connection.vendor == "sqlite" else 4  # a savepoint and its end; on PostgreSQL the lock
    for more in ((), [f"S{number}" for number in range(98)]):
        hold(owner, *more)
        stocks = list(Stock.objects.all())
        refresh_prices(stocks, owner)
        end_all()
        with django_assert_num_queries(steps):
            assert len(refresh_prices(stocks, owner).recent) == len(stocks)
