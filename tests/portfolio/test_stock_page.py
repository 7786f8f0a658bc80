"""The page of one stock: who may see it, what it shows, and what it draws."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from market.analysis.sentiment.analyse import analyse_by_rule
from market.analysis.technical.analyse import HISTORY_BARS, analyse
from market.analysis.technical.chart import DRAWN, chart
from market.models import Analysis, Stock
from market.news import newest_news, store_news
from market.sources.base import Headline
from portfolio.models import Portfolio
from tasks.models import Job
from tests.support.jobs import new_job
from tests.support.prices import LAST_SESSION, stored

pytestmark = pytest.mark.django_db


@pytest.fixture
def page(user, client):
    """page("AAPL"): what the user sees of it."""
    client.force_login(user)
    Job.objects.all().delete()
    return lambda symbol: client.get(f"/stocks/{symbol}/").content.decode()


def test_it_shows_price_change_position_and_analysis(user, hold, page):
    stock = stored("AAPL", 300)
    hold(user, "AAPL")
    analysis = analyse(stock)
    assert analysis is not None
    analysis.save()
    newest, before = stock.bars.order_by("-date").values_list("close", flat=True)[:2]
    shown = page("AAPL")
    for text in (
        f"{newest:,.2f}",
        f"{newest - before:+,.2f}",
        "You hold 10, worth",
        f"{10 * newest:,.2f}",
        analysis.recommendation,
        f"of {analysis.bars} bars until {LAST_SESSION}, by the rule technical/2",
        analysis.contributions[0]["reason"],
        "Not investment advice",
    ):
        assert text in shown


def test_the_gain_is_unknown_where_one_of_the_buy_prices_is(user, hold, page):
    stock = stored("AAPL", 300)
    hold(user, "AAPL")
    Portfolio.objects.create(user=user, name="Other").holdings.create(stock=stock, shares=5)
    shown = page("AAPL")
    assert "You hold 15, worth" in shown
    assert "(gain unknown: a buy price is unknown)" in shown


def test_it_shows_headlines_how_they_sound_and_what_is_made_of_them(user, hold, page):
    (stock,) = hold(user, "AAPL")
    now = timezone.now()
    store_news(
        stock,
        [
            Headline("1", "Profit soars to a great record", "Wire", "https://news.example/1", now),
            Headline("2", "<b>Terrible loss</b>", "Wire", "javascript:alert(1)", now),
        ],
        now,
    )
    news = newest_news(stock, 10)
    analyse_by_rule(stock, news, "vader/1").save()
    shown = page("AAPL").partition("News and sentiment")[2]
    for text in ('href="https://news.example/1"', "&lt;b&gt;Terrible loss", "of 2 headlines, by vader/1"):
        assert text in shown
    assert "javascript:" not in shown
    for item in news:
        assert f"{item.sentiment:+.2f}" in shown


def test_a_stock_without_news_says_why_there_is_no_recommendation(user, hold, page):
    (stock,) = hold(user, "AAPL")
    analyse_by_rule(stock, [], "vader/1", fallback="no news in the last 7 days").save()
    shown = page("AAPL").partition("News and sentiment")[2]
    assert "No recommendation:" in shown
    assert "no news in the last 7 days" in shown
    assert "No headlines stored." in shown


def test_a_stock_without_prices_and_analyses_says_so(user, hold, page):
    hold(user, "NEWCO")
    shown = page("NEWCO")
    for text in ("No price yet.", "Not analysed yet.", "None yet.", ">not fetched yet<"):
        assert text in shown


def test_an_analysis_of_earlier_prices_says_so(user, hold, page):
    hold(user, "AAPL")
    analysis = analyse(stored("AAPL", 30))
    assert analysis is not None
    analysis.save()
    assert "prices have changed since" not in page("AAPL")
    Stock.objects.update(bars_changed_at=timezone.now())
    assert "prices have changed since" in page("AAPL")


def test_the_recommendations_so_far_are_listed_newest_first(user, hold, page):
    stock = stored("AAPL", 30)
    hold(user, "AAPL")
    for days, action in enumerate(("SELL", "BUY")):
        at = timezone.now() - timedelta(days=5 - days)
        Analysis.objects.create(
            stock=stock, kind="technical", recommendation=action, confidence=0.5, version="technical/2", created_at=at
        )
    history = page("AAPL").partition("Recommendation history")[2]
    assert 0 < history.index(">BUY<") < history.index(">SELL<")


@pytest.mark.parametrize("job_type", [Job.Type.STOCK_FETCH, Job.Type.STOCK_ANALYSIS])
def test_it_shows_that_something_is_on_its_way(user, hold, page, job_type):
    hold(user, "AAPL")
    assert "badge updating" not in page("AAPL")
    job = new_job("AAPL", status="running", user=user, job_type=job_type)
    assert "badge updating" in page("AAPL")
    job.delete()
    assert "badge updating" not in page("AAPL")


PATHS = ("", "figures/", "chart/")


@pytest.mark.parametrize("path", PATHS)
def test_what_others_hold_and_what_is_not_there_cannot_be_told_apart(
    user, hold, client, django_user_model, configured, path
):
    hold(django_user_model.objects.create_user("other"), "AAPL")
    stored("^GSPC", 5)
    stored("UNHELD", 5)
    configured(**{"market.watchlist": ["^GSPC"]})
    client.force_login(user)
    for symbol, status in (("AAPL", 404), ("ZZTOP", 404), ("UNHELD", 404), ("no symbol", 404), ("^GSPC", 200)):
        assert client.get(f"/stocks/{symbol}/{path}").status_code == status
    user.user_permissions.add(Permission.objects.get(codename="view_stock"))
    assert client.get(f"/stocks/UNHELD/{path}").status_code == 200
    client.logout()
    assert client.get(f"/stocks/^GSPC/{path}").status_code == 302


def test_another_spelling_leads_to_the_symbol(user, hold, client):
    hold(user, "BRK-B")
    client.force_login(user)
    assert client.get("/stocks/brk.b/").url == "/stocks/BRK-B/"


def test_refresh_asks_with_priority_3_and_takes_only_a_post_with_a_csrf_token(user, hold):
    hold(user, "AAPL")
    hold_others = Client(enforce_csrf_checks=True)
    hold_others.force_login(user)
    Job.objects.all().delete()
    assert hold_others.get("/stocks/AAPL/refresh/").status_code == 405
    assert hold_others.post("/stocks/AAPL/refresh/").status_code == 403
    assert not Job.objects.exists()
    client = Client()
    client.force_login(user)
    Job.objects.all().delete()
    assert "Refresh: queued AAPL." in client.post("/stocks/AAPL/refresh/", follow=True).content.decode()
    assert client.post("/stocks/ZZTOP/refresh/").status_code == 404
    assert [(job.symbol, job.trigger, job.priority) for job in Job.objects.all()] == [("AAPL", "user_request", 3)]


def test_the_page_takes_the_same_number_of_queries_however_much_is_known(user, hold, client):
    stored("AAPL", 1)
    hold(user, "AAPL")
    client.force_login(user)
    Job.objects.all().delete()
    with CaptureQueriesContext(connection) as few:
        client.get("/stocks/AAPL/")
    stock = stored("AAPL", 300)
    for _ in range(20):
        analysis = analyse(stock)
        assert analysis is not None
        analysis.save()
        new_job("AAPL", status="completed", user=user)
    with CaptureQueriesContext(connection) as many:
        client.get("/stocks/AAPL/")
    assert len(many) == len(few)


def test_the_portfolio_leads_to_its_stocks(user, hold, client):
    hold(user, "BRK-B")
    client.force_login(user)
    assert 'href="/stocks/BRK-B/"' in client.get("/").content.decode()


def test_the_chart_has_adjusted_bars_and_the_indicators_of_the_analyses():
    stock = stored("AAPL", HISTORY_BARS + 260)
    for bar in stock.bars.order_by("date")[:300]:
        stock.bars.filter(pk=bar.pk).update(adj_close=bar.close / 2)
    drawn = chart(stock)
    assert {len(column) for column in drawn.values()} == {HISTORY_BARS}
    assert drawn["date"][-1] == LAST_SESSION.isoformat()
    assert all(None not in drawn[name] for name in DRAWN)
    first = stock.bars.get(date=drawn["date"][0])
    for name in ("open", "high", "low", "close"):
        assert drawn[name][0] == pytest.approx(getattr(first, name) / 2)
    found = analyse(stock)
    assert found is not None
    for name in DRAWN:
        assert drawn[name][-1] == pytest.approx(found.values[name], rel=1e-6)


def test_what_is_not_known_is_a_gap_in_the_chart(client, user, hold):
    stored("AAPL", 30, open=None, volume=None)
    hold(user, "AAPL")
    client.force_login(user)
    drawn = client.get("/stocks/AAPL/chart/").json()
    assert drawn["open"] == drawn["volume"] == drawn["sma_200"] == [None] * 30
    assert drawn["sma_20"].count(None) == 19


def test_a_stock_without_prices_has_an_empty_chart(client, user, hold):
    hold(user, "NEWCO")
    client.force_login(user)
    assert set(map(len, client.get("/stocks/NEWCO/chart/").json().values())) == {0}


def test_a_chart_is_computed_again_only_after_its_bars_changed(client, user, hold):
    stock = stored("AAPL", 300)
    stock.bars_changed_at = timezone.now()
    stock.save()
    hold(user, "AAPL")
    client.force_login(user)
    first = client.get("/stocks/AAPL/chart/").json()
    bar = stock.bars.latest("date")
    bar.close = 2 * bar.close
    bar.adj_close = bar.close
    bar.save()
    with CaptureQueriesContext(connection) as queries:
        assert client.get("/stocks/AAPL/chart/").json() == first
    assert not any("pricebar" in query["sql"] for query in queries)
    Stock.objects.filter(pk=stock.pk).update(bars_changed_at=timezone.now())
    assert client.get("/stocks/AAPL/chart/").json() != first
