"""Held and watched stocks are fetched shortly before their data is stale, many with one request."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.contrib.auth.models import User
from django.utils import timezone

from market.models import SourceUse, Stock, TradingSession
from portfolio.celery_tasks import warm
from portfolio.fetching import fetch_stale_holdings
from portfolio.models import PortfolioPriority
from portfolio.schedules.warming import fetch_warm, fill_batches, time_ahead
from tests.support.jobs import result_of, run_once
from tests.support.prices import quotable
from tests.support.standins.yahoo import CRUMB_PATH

pytestmark = pytest.mark.django_db(transaction=True)


def checked(symbol: str, minutes: float, **fields: object) -> Stock:
    """A stock of an exchange that never closes, checked so many minutes ago."""
    at = timezone.now() - timedelta(minutes=minutes)
    return Stock.objects.create(symbol=symbol, checked_at=at, **({"exchange": "CCC", "source": "sample"} | fields))


def warmed() -> list[list[str]]:
    """The stocks of each batch that is requested now."""
    return [job.parameters["symbols"] for job in fetch_warm().created]


def test_stocks_that_go_stale_soon_are_fetched_and_the_next_login_finds_everything_fresh(yahoo, user, hold):
    stocks = quotable(yahoo.server, "AAPL", "MSFT")
    hold(user, "AAPL", "MSFT")
    Stock.objects.update(checked_at=timezone.now() - timedelta(minutes=29))
    (job,) = fetch_warm().created
    assert (job.trigger, job.priority, job.queue) == ("scheduled_update", 5, "background_fetch")
    assert job.parameters["ahead"] == 15
    ended = run_once(job)
    assert [member["via"] for member in result_of(ended)["results"].values()] == ["quote", "quote"]
    assert fetch_stale_holdings(user).jobs == []
    for stock in stocks:
        stock.refresh_from_db()
        assert stock.checked_at
        assert timezone.now() - stock.checked_at < timedelta(minutes=1)


def test_only_held_and_watched_stocks_are_kept_warm(user, hold, configure):
    for symbol in ("HELD", "WATCHED", "OTHER", "LEFT"):
        checked(symbol, 29)
    hold(user, "HELD")
    hold(User.objects.create_user("gone", is_active=False), "LEFT")
    configure(**{"market.watchlist": ("WATCHED",)})
    assert warmed() == [["HELD", "WATCHED"]]


@pytest.mark.parametrize(
    ("minutes", "fields", "expected"),
    [
        (24, {}, []),
        (28, {}, []),  # within the time, and in time for the next run
        (29, {}, [["ONE"]]),
        (31, {}, [["ONE"]]),
        (31, {"status": "delisted"}, []),
    ],
)
def test_a_batch_waits_until_a_stock_is_about_to_go_stale(user, hold, minutes, fields, expected):
    checked("ONE", minutes, **fields)
    hold(user, "ONE")
    assert warmed() == expected


def test_a_stock_that_goes_stale_soon_takes_others_along(user, hold):
    for symbol, minutes in (("SOON", 29), ("LATER", 26), ("FRESH", 10)):
        checked(symbol, minutes)
    hold(user, "SOON", "LATER", "FRESH")
    assert warmed() == [["SOON", "LATER"]]


def test_a_stock_of_a_closed_exchange_is_left_alone_until_it_opens(user, hold):
    opens = datetime(2026, 3, 10, 13, 30, tzinfo=UTC)
    for days in (-1, 0):
        at = opens + timedelta(days=days)
        TradingSession.objects.create(calendar="XNYS", opens_at=at, closes_at=at + timedelta(hours=6.5))
    checked_at = opens - timedelta(hours=15)
    known = {"exchange": "NMS", "source": "yahoo_finance", "checked_at": checked_at, "last_bar_on": checked_at.date()}
    Stock.objects.create(symbol="AAPL", **known)
    hold(user, "AAPL")
    with time_machine.travel(opens - timedelta(minutes=1), tick=False):
        assert warmed() == []
    with time_machine.travel(opens + timedelta(seconds=1), tick=False):
        assert warmed() == [["AAPL"]]


def test_what_the_budget_does_not_reach_waits_and_the_most_wanted_come_first(user, hold, configure):
    configure(**{"stock_jobs.data_fetch.rate_limit": 10, "stock_jobs.data_fetch.quote_size": 2})
    symbols = [f"S{number}" for number in range(6)]
    for symbol in symbols:
        checked(symbol, 40)
    stocks = hold(user, *symbols)
    for rank, stock in enumerate(stocks):
        PortfolioPriority.objects.create(user=user, stock=stock, priority_score=100 + rank)
    SourceUse.objects.create(source="yahoo_finance", granted_at=timezone.now(), requests=5)  # of seven
    assert warmed() == [["S5", "S4"], ["S3", "S2"]]
    SourceUse.objects.update(requests=7)
    assert warmed() == []


def test_a_stock_in_an_active_batch_is_not_requested_again(user, hold):
    checked("ONE", 29)
    hold(user, "ONE")
    assert warmed() == [["ONE"]]
    assert warmed() == []


def test_the_schedule_can_be_turned_off(user, hold, configure):
    checked("ONE", 29)
    hold(user, "ONE")
    configure(**{"stock_jobs.warm.enabled": False})
    assert warmed() == []


def test_the_source_is_kept_ready_for_quotes(yahoo, without_crumb, configure):
    before = len(yahoo.server.requests)
    warm.apply().get()
    warm.apply().get()
    assert [request.path for request in yahoo.server.requests[before:]].count(CRUMB_PATH) == 1


def test_a_source_that_cannot_be_made_ready_is_told_in_the_log(yahoo, without_crumb, caplog):
    yahoo.misbehave("rate_limited", CRUMB_PATH)
    warm.apply().get()
    assert "the source is not ready for quotes: Yahoo Finance refused a crumb" in caplog.text


def test_where_everything_is_stale_at_once_nothing_is_kept_warm(user, hold, configure):
    checked("ONE", 29)
    hold(user, "ONE")
    configure(**{"stock_jobs.portfolio_priority.data_staleness_threshold": 0})
    assert warmed() == []


def test_the_time_ahead_is_at_most_half_of_the_limit(configure):
    assert time_ahead() == timedelta(minutes=15)
    configure(**{"stock_jobs.portfolio_priority.data_staleness_threshold": 4})
    assert time_ahead() == timedelta(minutes=2)


@pytest.mark.parametrize(
    ("stocks", "urgent", "requests", "expected"),
    [
        ("abcdefg", "", None, ""),
        ("abcdefg", "g", None, "gab"),
        ("abcdefg", "defg", None, "defgab"),
        ("ab", "b", None, "ba"),
        ("abcdefg", "defg", 1, "def"),
        ("abcdefg", "g", 0, ""),
        ("", "", None, ""),
    ],
)
def test_urgent_stocks_need_batches_and_other_stocks_fill_the_last(stocks, urgent, requests, expected):
    found = fill_batches(list(stocks), urgent.__contains__, 3, requests)
    assert "".join(found) == expected
