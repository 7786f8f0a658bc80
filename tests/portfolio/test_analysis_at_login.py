"""A login asks for the analyses that are due, after the prices and below them."""

from datetime import date, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from market.analysis.technical.analyse import analyse
from market.models import Analysis, Stock
from portfolio.fetching import fetch_portfolios, fetch_scheduled, fetch_stale_holdings
from portfolio.models import Portfolio
from tasks.models import Job
from tasks.running.execute import run_job
from tests.support.prices import LAST_SESSION, stored

pytestmark = pytest.mark.django_db

LONG_AGO = timedelta(hours=7)


@pytest.fixture(autouse=True)
def kinds(configured) -> None:
    configured(**{"stock_jobs.analysis.at_login": ["technical", "sentiment"]})


def analysed(symbol: str, *, age: timedelta = timedelta(), until: date = LAST_SESSION) -> Stock:
    """A stock with prices, and a technical analysis of them."""
    stock = stored(symbol, 300, until)
    analysis = analyse(stock)
    assert analysis is not None
    analysis.created_at = timezone.now() - age
    analysis.save()
    return stock


def asked_for() -> list[tuple[str, str, str, str]]:
    analyses = Job.objects.filter(job_type=Job.Type.STOCK_ANALYSIS).order_by("created_at")
    return [(job.symbol, job.subtype, job.trigger, job.queue) for job in analyses]


def test_fresh_stocks_are_analysed_at_once_where_that_is_due(user, hold):
    analysed("YOUNG")
    analysed("OLD", age=LONG_AGO)
    hold(user, "YOUNG", "OLD", "STALE")
    requested = fetch_stale_holdings(user)
    assert [job.symbol for job in requested.created] == ["STALE"]
    assert sorted(asked_for()) == [
        ("OLD", "sentiment", "background_analysis", "background_analysis"),
        ("OLD", "technical", "background_analysis", "background_analysis"),
        ("YOUNG", "sentiment", "background_analysis", "background_analysis"),
    ]
    assert all(7 <= job.priority <= 10 for job in Job.objects.filter(job_type=Job.Type.STOCK_ANALYSIS))


@pytest.mark.django_db(transaction=True)
def test_analyses_of_stale_stocks_follow_when_their_prices_have_come(user, hold, yahoo):
    yahoo.serve("AAPL")
    analysed("AAPL", until=LAST_SESSION - timedelta(days=9))
    Stock.objects.update(checked_at=timezone.now() - timedelta(days=9))
    hold(user, "AAPL")
    (fetch,) = fetch_stale_holdings(user).created
    assert asked_for() == []
    run_job(fetch.pk, "worker")
    assert [(symbol, kind) for symbol, kind, *_ in asked_for()] == [("AAPL", "sentiment"), ("AAPL", "technical")]
    assert set(Job.objects.values_list("user", flat=True)) == {user.pk}


@pytest.mark.django_db(transaction=True)
def test_new_prices_make_a_technical_analysis_due_and_the_same_ones_do_not(user, hold, yahoo, configured):
    configured(**{"stock_jobs.analysis.at_login": ["technical"]})
    yahoo.serve("AAPL", days=300)
    hold(user, "AAPL")
    (fetch,) = fetch_stale_holdings(user).created
    run_job(fetch.pk, "worker")
    (analysis,) = Job.objects.filter(job_type=Job.Type.STOCK_ANALYSIS)
    Analysis.objects.all().delete()
    made = analyse(Stock.objects.get())
    assert made is not None
    made.save()
    analysis.delete()
    (again,) = fetch_portfolios(Portfolio.objects.all(), user).created
    run_job(again.pk, "worker")
    again.refresh_from_db()
    assert (again.outcome, asked_for()) == ("unchanged", [])


@pytest.mark.django_db(transaction=True)
def test_what_nobody_waits_for_is_not_analysed(user, hold, yahoo):
    yahoo.serve("AAPL")
    hold(user, "AAPL")
    (batch,) = fetch_scheduled().created
    run_job(batch.pk, "worker")
    assert asked_for() == []


def test_a_second_login_asks_for_nothing_again(user, hold):
    analysed("OLD", age=LONG_AGO)
    hold(user, "OLD")
    fetch_stale_holdings(user)
    before = asked_for()
    assert len(before) == 2
    fetch_stale_holdings(user)
    assert asked_for() == before


def test_a_parked_stock_is_not_analysed(user, hold):
    analysed("GONE", age=LONG_AGO)
    Stock.objects.update(status="delisted")
    hold(user, "GONE")
    fetch_stale_holdings(user)
    assert asked_for() == []


def test_without_kinds_nothing_is_analysed_by_itself(user, hold, configured):
    configured(**{"stock_jobs.analysis.at_login": []})
    analysed("OLD", age=LONG_AGO)
    hold(user, "OLD")
    fetch_stale_holdings(user)
    assert asked_for() == []


def test_it_takes_the_same_number_of_queries_for_1_and_20_holdings(django_user_model, hold):
    def log_in(count: int) -> int:
        user = django_user_model.objects.create_user(f"holder{count}")
        symbols = [f"S{count}X{number}" for number in range(count)]
        for symbol in symbols:
            stored(symbol, 1)
        hold(user, *symbols)
        with CaptureQueriesContext(connection) as queries:
            fetch_stale_holdings(user)
        return len(queries)

    assert log_in(1) == log_in(20)
    assert len(asked_for()) == 42
