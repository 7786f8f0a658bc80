"""The admin's page "Stock data" tells of logins, held stocks, portfolios and priority scores."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from console.dashboard import links
from console.dashboard.links import Figure
from market.models import Analysis, Stock
from portfolio.fetching import fetch_stale_holdings
from portfolio.models import Login, PortfolioPriority
from tasks.models import JobRequest
from tests.support.jobs import new_job
from tests.support.stock_data_page import ago, logged_in, sql

pytestmark = pytest.mark.django_db


def test_the_time_from_login_to_the_last_holding_fresh_is_shown(stock_data, rows_behind, django_user_model):
    fresh = set()
    for seconds in range(11, 31):
        other = django_user_model.objects.create_user(f"someone{seconds}")
        fresh.add(logged_in(other, new_job(f"S{seconds}", "completed"), seconds).pk)
    waiting = logged_in(django_user_model.objects.create_user("waits"), new_job("W", "running"), 30).pk
    lost = logged_in(django_user_model.objects.create_user("lost"), new_job("L", "failed"), 9).pk
    logged_in(django_user_model.objects.create_user("early"), new_job("E", "completed", finished_at=ago(hours=2)), 99)
    found = stock_data().logins
    times, results = dict(found.seconds), dict(found.results)
    assert (times["median"].text, times["95th percentile"].text) == ("20 s", "29 s")
    assert {word: figure.text for word, figure in results.items()} == {
        "fresh": "20",
        "incomplete": "1",
        "waiting": "1",
    }
    assert (
        rows_behind(times["median"]) == rows_behind(times["95th percentile"]) == rows_behind(results["fresh"]) == fresh
    )
    assert rows_behind(results["incomplete"]) == {lost}
    assert rows_behind(results["waiting"]) == {waiting}


def test_a_login_is_listed_as_the_request_that_decided_what_became_of_it(stock_data, rows_behind, django_user_model):
    ended = timezone.now()
    jobs = {
        "early": new_job("EARLY", "completed", finished_at=ended - timedelta(seconds=2)),
        "last": new_job("LAST", "completed", finished_at=ended),
        "cached": new_job("CACHED", "completed", finished_at=ended, result={"source": "cached"}),
        "failed": new_job("FAILED", "failed", finished_at=ended),
        "queued": new_job("QUEUED", "queued"),
    }
    deciding = {
        "fresh": ("last", ["early", "last"]),
        "incomplete": ("cached", ["last", "cached", "failed"]),
        "waiting": ("queued", ["failed", "last", "queued"]),
    }
    expected = {}
    for result, (decides, names) in deciding.items():
        user = django_user_model.objects.create_user(result)
        for number, name in enumerate(names):
            moment = ended - timedelta(seconds=30 - number)
            wish = JobRequest.objects.create(job=jobs[name], user=user, trigger="user_login", created_at=moment)
            if name == decides:
                expected[result] = {wish.pk}
    assert {result: rows_behind(figure) for result, figure in stock_data().logins.results} == expected


def test_a_result_that_no_login_can_have_lists_none(rows_behind):
    assert rows_behind(Figure("", links.job_requests(login="lost"))) == set()


def test_it_tells_how_many_stocks_are_kept_warm_and_at_what_cost(
    stock_data, rows_behind, user, hold, configure, django_user_model
):
    configure(**{"market.watchlist": ["WATCHED"]})
    held = hold(user, "FRESH", "STALE", "PARKED")
    hold(django_user_model.objects.create_user("left", is_active=False), "LEFT")
    watched = Stock.objects.create(symbol="WATCHED", checked_at=ago(minutes=3))
    Stock.objects.filter(symbol="FRESH").update(checked_at=ago(minutes=3))
    Stock.objects.filter(symbol="PARKED").update(status="unknown")
    batch: dict[str, Any] = {"job_type": "stock_batch_fetch", "parameters": {"symbols": ["FRESH"], "ahead": 5}}
    counted = [
        new_job("A", "completed", result={"requests": 1}, **batch),
        new_job("B", "completed", result={"requests": 12}, **batch),
        new_job("C", "completed", result={}, **batch),  # of a worker that does not count yet
        new_job("D", "failed", **batch),
    ]
    new_job("E", "completed", result={"requests": 100}, finished_at=ago(hours=2), **batch)
    new_job("F", "completed", result={"requests": 100}, **batch | {"parameters": {"symbols": ["FRESH"]}})
    warmth = stock_data().warmth
    assert warmth.fresh.text == "2 of 3"
    assert rows_behind(warmth.fresh) == {held[0].pk, held[1].pk, watched.pk}
    assert warmth.requests.text == "13"
    assert rows_behind(warmth.requests) == {job.pk for job in counted}


def test_the_share_of_instant_logins_is_shown_once_there_is_one(stock_data, stock_data_words, user, hold):
    Login.objects.create(at=ago(hours=25), stocks=1, stale=0)
    assert stock_data().warmth.instant_logins is None
    assert "No login yet in the last day." in stock_data_words()
    hold(user, "AAPL")
    fetch_stale_holdings(user)
    Stock.objects.update(checked_at=timezone.now())
    for _ in range(3):
        fetch_stale_holdings(user)
    share = stock_data().warmth.instant_logins
    assert (share.text, share.link) == ("75% of 4", "")
    shown = stock_data_words()
    assert "Instant logins 75% of 4" in shown
    assert "No login yet" not in shown


def test_held_stocks_are_shown_by_state_and_by_age(stock_data, rows_behind, user, hold):
    hold(user, "NEW", "OLD", "OLDER", "NEVER", "PARKED")
    checked = {"NEW": 3, "OLD": 50, "OLDER": 2000, "PARKED": 20_000}
    for symbol, minutes in checked.items():
        Stock.objects.filter(symbol=symbol).update(checked_at=ago(minutes=minutes))
    Stock.objects.filter(symbol="PARKED").update(status="unknown")
    Stock.objects.create(symbol="NOBODYS", checked_at=ago(minutes=3))
    page = stock_data()
    assert [(words, figure.text) for words, figure in page.stock_states] == [
        ("fresh", "1"),
        ("stale", "2"),
        ("never checked", "1"),
        ("parked", "1"),
    ]
    symbols = [
        set(Stock.objects.filter(pk__in=rows_behind(figure)).values_list("symbol", flat=True))
        for _, figure in page.stock_states
    ]
    assert symbols == [{"NEW"}, {"OLD", "OLDER"}, {"NEVER"}, {"PARKED"}]
    ages = {bar.label: bar.figures[0] for bar in page.ages if bar.figures[0].text != "0"}
    expected = {"never": "NEVER", "under 5 minutes": "NEW", "30 to 60 minutes": "OLD", "1 to 7 days": "OLDER"}
    assert {label: figure.text for label, figure in ages.items()} == dict.fromkeys(expected, "1")
    for label, symbol in expected.items():
        assert rows_behind(ages[label]) == {Stock.objects.get(symbol=symbol).pk}
    assert sum(int(bar.figures[0].text) for bar in page.ages) == sql(
        "SELECT COUNT(DISTINCT stock_id) FROM portfolio_holding JOIN market_stock ON market_stock.id = stock_id"
        " WHERE market_stock.status = 'active'"
    )


def test_the_ten_stalest_stocks_are_named_those_never_checked_first(stock_data, rows_behind, user, hold):
    hold(user, "^NEVER", *(f"S{hours}" for hours in range(1, 15)))
    for hours in range(1, 15):
        Stock.objects.filter(symbol=f"S{hours}").update(checked_at=ago(hours=hours))
    worst = stock_data().worst_stocks
    assert [one.symbol.text for one in worst] == ["^NEVER", *(f"S{hours}" for hours in range(14, 5, -1))]
    assert [worst[0].age.text, worst[1].age.text] == ["never checked", "14 h ago"]
    assert rows_behind(worst[0].symbol) == {Stock.objects.get(symbol="^NEVER").pk}


def test_coverage_is_shown_by_portfolio_the_least_fresh_first(stock_data, rows_behind, user, hold, django_user_model):
    other = django_user_model.objects.create_user("other")
    hold(user, "A", "B", "C", "D")
    hold(other, "A")
    Stock.objects.filter(symbol="A").update(checked_at=timezone.now())
    page = stock_data()
    assert [(one.user, one.fresh.text, one.share) for one in page.coverage] == [
        (user.username, "1 of 4", 25),
        ("other", "1 of 1", 100),
    ]
    assert len(rows_behind(page.coverage[0].portfolio)) == 4
    assert page.covered.text == "2 of 5"
    assert len(rows_behind(page.covered)) == 5
    assert page.share_covered.text == "25%"
    assert rows_behind(page.share_covered) == {Stock.objects.get(symbol="A").pk}


def test_the_ten_highest_scores_are_named_with_what_is_known_of_their_stocks(
    stock_data, rows_behind, stock_data_words, user
):
    assert "No user with holdings has logged in yet." in stock_data_words()
    stocks = Stock.objects.bulk_create(Stock(symbol=f"S{number:02}") for number in range(14))
    tracked = [
        PortfolioPriority.objects.create(user=user, stock=stock, priority_score=100 + 10 * number)
        for number, stock in enumerate(stocks)
    ]
    PortfolioPriority.objects.filter(pk=tracked[13].pk).update(is_active=False)
    Stock.objects.filter(symbol="S12").update(checked_at=ago(minutes=3))
    Stock.objects.filter(symbol="S11").update(checked_at=ago(hours=3))
    Analysis.objects.create(stock=stocks[12], kind="technical", version="1", created_at=ago(hours=5))
    Analysis.objects.create(stock=stocks[12], kind="sentiment", version="1", created_at=ago(hours=2))
    page = stock_data()
    assert [one.stock.text for one in page.tracked] == [f"S{number:02}" for number in range(12, 2, -1)]
    first, second, third = page.tracked[:3]
    assert (first.user, first.score.text, first.state) == (user.username, "220", "fresh")
    assert (first.fetched, first.analysed) == ("3 min ago", "2 h ago")
    assert (second.state, second.fetched, second.analysed) == ("stale", "3 h ago", "never")
    assert (third.state, third.data, third.fetched) == ("never", "never fetched", "never")
    assert rows_behind(first.stock) == {stocks[12].pk}
    assert rows_behind(first.score) == {tracked[12].pk}
    assert rows_behind(page.all_tracked) == {one.pk for one in tracked[:13]}
