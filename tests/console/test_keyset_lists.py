"""The admin's other long lists: requests, events, prices and task results page, search and look like that of jobs."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import partial

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_celery_results.models import TaskResult

from market.models import Analysis, NewsItem, PriceBar, Stock
from mqtt_bridge import outbox
from tasks.models import JobEvent, JobRequest
from tests.support.jobs import new_job
from tests.support.keyset_pages import follow, last_with_rows, limit_pages, look_with

pytestmark = pytest.mark.django_db

JOBS = "/admin/tasks/job/"
REQUESTS = "/admin/tasks/jobrequest/"
EVENTS = "/admin/tasks/jobevent/"
SET_ASIDE = "/admin/mqtt_bridge/setasideevent/"
PRICES = "/admin/market/pricebar/"
NEWS = "/admin/market/newsitem/"
ANALYSES = "/admin/market/analysis/"
RESULTS = "/admin/django_celery_results/taskresult/"


@pytest.fixture
def pages_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """pages_of(3, look_back=10): so many rows on a page, which looks through so many at most."""
    return partial(limit_pages, monkeypatch)


def test_requests_look_further_in_both_directions(admin_client, pages_of):
    for number in range(9):
        new_job(f"S{number}", "completed")
    JobRequest.objects.filter(job__symbol__in=["S0", "S4", "S8"]).update(trigger="maintenance")
    pages_of(2, look_back=2)
    look = look_with(admin_client, REQUESTS)
    there = follow(look, "Older →", look(trigger__exact="maintenance"))
    assert [wish.job.symbol for page in there for wish in page.rows] == ["S8", "S4", "S0"]
    assert any("Looked back to" in page.words for page in there)
    back = follow(look, "← Newer", last_with_rows(there))
    assert [wish.job.symbol for page in back for wish in page.rows] == ["S0", "S4", "S8"]
    assert any("Looked forward to" in page.words for page in back)


@pytest.mark.parametrize("place", ["9" * 30, "-1"])
def test_a_place_beyond_all_rows_is_a_place(admin_client, place):
    event = new_job("AAPL").events.get()
    look = look_with(admin_client, EVENTS)
    assert look(older=place).rows == ([event] if place.startswith("9") else [])
    assert look(newer=place).rows == [event]


@pytest.mark.parametrize("place", ["", "x", "1,2", "1.5"])
def test_a_broken_place_is_told(admin_client, place):
    event = new_job("AAPL").events.get()
    shown = look_with(admin_client, EVENTS)(older=place)
    assert "“older” is not valid" in shown.words
    assert shown.rows == [event]


def test_requests_and_events_are_searched_for_what_jobs_are(admin_client, user, django_user_model):
    job = new_job("AAPL", "completed", user)
    new_job("MSFT", "completed", django_user_model.objects.create_user("other"))
    requests, events = look_with(admin_client, REQUESTS), look_with(admin_client, EVENTS)
    for text in ("aapl", "AA", user.username, str(job.pk), str(job.pk)[:8]):
        assert requests(q=text).rows == [job.requests.get()]
        assert events(q=text).rows == list(job.events.order_by("-id"))
    for look in (requests, events):
        assert look(q="no such thing").rows == []


def test_a_request_of_another_for_the_same_job_is_not_the_users(admin_client, user, django_user_model):
    job = new_job("AAPL", "completed", user)
    job.requests.create(user=django_user_model.objects.create_user("other"), trigger="user_login")
    look = look_with(admin_client, REQUESTS)
    assert [str(wish.user) for wish in look(q="other").rows] == ["other"]
    assert len(look(q="AAPL").rows) == 2


def test_requests_of_logins_are_found_behind_many_others(admin_client, pages_of):
    login = new_job("AAPL").requests.get()
    JobRequest.objects.update(trigger="user_login")
    for symbol in "BCDE":
        new_job(symbol)
    pages_of(2, look_back=1)
    since = (timezone.now() - timedelta(hours=1)).isoformat()
    shown = look_with(admin_client, REQUESTS)(trigger__exact="user_login", created_at__gte=since)
    assert shown.rows == [login]
    assert "Looked back" not in shown.words


def test_events_that_wait_for_mqtt_are_found_behind_many_that_were_published(admin_client, pages_of):
    waiting, aside = (new_job(symbol).events.get() for symbol in ("AAPL", "MSFT"))
    outbox.set_aside({aside.pk: "refused"})
    for symbol in "BCDE":
        new_job(symbol)
    JobEvent.objects.exclude(pk__in=[waiting.pk, aside.pk]).update(published_at=timezone.now())
    pages_of(2, look_back=1)
    shown = look_with(admin_client, EVENTS)(published_at__isempty=1, error__isempty=1)
    assert shown.rows == [waiting]
    assert [event.pk for event in look_with(admin_client, SET_ASIDE)().rows] == [aside.pk]


def price(stock: Stock, day: int) -> PriceBar:
    return PriceBar.objects.create(stock=stock, date=date(2026, 11, day), close=1)


def test_prices_are_listed_stock_by_stock_and_a_stocks_newest_day_first(admin_client, pages_of):
    first, second = (Stock.objects.create(symbol=symbol) for symbol in ("AAPL", "BRK-B"))
    expected = [price(second, 20), price(first, 24), price(first, 23), price(first, 20)]
    pages_of(2, look_back=1)
    look = look_with(admin_client, PRICES)
    there = follow(look, "Older →", look())
    assert [row for page in there for row in page.rows] == expected
    assert [row for page in follow(look, "← Newer", last_with_rows(there))[::-1] for row in page.rows] == expected
    assert look(q="aapl").rows == expected[1:3]
    assert look(q="BRK.B").rows == expected[:1]
    for text in ("AAP", "what is this?"):
        assert look(q=text).rows == []


def test_prices_of_another_day_are_looked_for_stock_by_stock(admin_client, pages_of):
    days = {"AAPL": 20, "MSFT": 23, "NVDA": 23}
    first, *_others = [price(Stock.objects.create(symbol=symbol), day) for symbol, day in days.items()]
    pages_of(2, look_back=1)
    look = look_with(admin_client, PRICES)
    shown = look(date__exact="2026-11-20")
    assert "Only price bars with date is 2026-11-20." in shown.words
    assert "None found so far Looked back to MSFT." in shown.words
    assert [page.rows for page in follow(look, "Look further", shown)][-1] == [first]


def headline(stock: Stock, day: int) -> NewsItem:
    moment = datetime(2026, 11, day, tzinfo=UTC)
    return NewsItem.objects.create(stock=stock, external_id=str(day), title="News", published_at=moment, sentiment=0)


def test_news_are_listed_by_their_day_whichever_stock_they_are_of(admin_client, pages_of):
    first, second = (Stock.objects.create(symbol=symbol) for symbol in ("AAPL", "MSFT"))
    oldest, newest, same_day, between = (
        headline(first, 20),
        headline(first, 24),
        headline(second, 24),
        headline(second, 22),
    )
    pages_of(2, look_back=1)
    look = look_with(admin_client, NEWS)
    there = follow(look, "Older →", look())
    assert [row for page in there for row in page.rows] == [same_day, newest, between, oldest]
    assert look(q="aapl").rows == [newest, oldest]
    assert look(q="News").rows == []


def test_analyses_are_found_by_symbol_kind_and_recommendation(admin_client, pages_of):
    first, second = (Stock.objects.create(symbol=symbol) for symbol in ("AAPL", "MSFT"))
    buy, sell, mood = (
        Analysis.objects.create(stock=stock, kind=kind, recommendation=recommendation, version="by hand")
        for stock, kind, recommendation in (
            (first, "technical", "BUY"),
            (second, "technical", "SELL"),
            (first, "sentiment", "BUY"),
        )
    )
    pages_of(2)
    look = look_with(admin_client, ANALYSES)
    there = follow(look, "Older →", look())
    assert [row for page in there for row in page.rows] == [mood, sell, buy]
    assert look(q="aapl").rows == [mood, buy]
    assert look(kind__exact="technical", recommendation__exact="BUY").rows == [buy]


def test_task_results_are_found_by_their_jobs_id(admin_client, pages_of):
    results = [TaskResult.objects.create(task_id=f"task-{number}", status="SUCCESS") for number in range(5)]
    pages_of(2)
    look = look_with(admin_client, RESULTS)
    assert [row for page in follow(look, "Older →", look()) for row in page.rows] == results[::-1]
    assert look(q="task-3").rows == [results[3]]
    assert look(q="task").rows == []


@pytest.mark.parametrize("path", [JOBS, REQUESTS, EVENTS, SET_ASIDE, PRICES, RESULTS])
def test_an_empty_list_says_what_it_would_have(admin_client, path):
    shown = look_with(admin_client, path)()
    assert f"No {shown.list.opts.verbose_name_plural} yet {shown.list.model_admin.nothing_yet}" in shown.words
    assert len(shown.list.model_admin.nothing_yet) > 20
    assert shown.list.search_help_text


ADDRESSES: tuple[dict[str, str], ...] = (
    {},
    {"older": "2100-01-01T00:00:00+00:00"},
    {"older": "1000000"},
    {"newer": "2000-01-01T00:00:00+00:00"},
    {"newer": "0"},
    {"status__exact": "failed"},
    {"status__exact": "pending"},
    {"queue__exact": "foreground"},
    {"finished_at__gte": "2000-01-01T00:00:00+00:00"},
    {"q": "S1"},
    {"q": "S"},
)


@pytest.mark.parametrize("lookups", ADDRESSES)
@pytest.mark.parametrize("path", [JOBS, REQUESTS, EVENTS, PRICES, RESULTS])
def test_no_page_counts_rows_and_its_queries_do_not_grow(admin_client, user, pages_of, lookups, path):
    def ask() -> list[str]:
        with CaptureQueriesContext(connection) as queries:
            assert admin_client.get(path, lookups).status_code in (200, 302)
        return [query["sql"] for query in queries.captured_queries]

    def fill(name: str, count: int) -> None:
        for number in range(count):
            for status in ("completed", "failed", "pending"):
                job = new_job(f"{name}{number}", status, user)
            price(Stock.objects.get(symbol=job.symbol), 1 + number)
            TaskResult.objects.create(task_id=str(job.pk), status="SUCCESS")

    pages_of(1)
    fill("S", 3)
    few = ask()
    pages_of(20)
    fill("T", 22)
    many = ask()
    assert len(many) == len(few)
    assert not [sql for sql in many if "COUNT(" in sql]
