"""The search for symbols: who sees what, how many requests it costs, and what it says when nothing answers."""

import threading
from typing import Any

import pytest
from django.db import connection, connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from market import symbol_search
from market.models import SourceState, SourceUse, Stock
from market.symbol_search import BUSY, LONGEST_QUERY, NOBODY, TOO_MANY, TYPING, UNREACHABLE, clean_query
from operations.local.child_processes import wait_until
from portfolio.editing.forms import NewHoldingForm
from portfolio.models import Holding, Portfolio
from portfolio.search.answers import MOST_QUESTIONS, SLOW
from stockqueue import cache
from tasks.delivery import direct
from tests.conftest import WORKER
from tests.support.standins.yahoo import SEARCH, daily_bars

pytestmark = pytest.mark.django_db


def search_here(query: str) -> bool:
    """Do the worker's part at once."""
    symbol_search.search_source(query)
    return True


@pytest.fixture
def searches(yahoo, monkeypatch):
    """searches(): the queries that Yahoo was asked for. A worker does its part as soon as it is asked to."""
    before = len(yahoo.server.requests)
    monkeypatch.setattr(symbol_search, "_hand_over", search_here)
    asked = yahoo.server
    return lambda: [one.params["q"] for one in asked.requests[before:] if one.path == SEARCH]


@pytest.fixture
def serve(yahoo):
    def serve(symbol: str, name: str, exchange: str = "NMS", **listing: Any) -> None:
        yahoo.touched.append(symbol)
        yahoo.server.serve(symbol, daily_bars(symbol, 20), exchange=exchange, name=name, **listing)

    return serve


@pytest.fixture
def look(owner):
    """look("apple"): the part of the page that a form shows."""

    def look(text: str, **more: object) -> str:
        return owner.get("/search/", {"q": text, **more}, headers={"HX-Request": "true"}).content.decode()

    return look


@pytest.fixture
def nobody_answers(monkeypatch):
    """A worker was told, and has not answered yet."""
    monkeypatch.setattr(symbol_search, "_hand_over", lambda query: True)


def test_a_visitor_has_to_log_in(client):
    assert client.get("/search/?q=apple").status_code == 302
    assert client.get("/search/numbers/?place=1&number=US0378331005&currency=").status_code == 302


def test_matches_of_yahoo_are_shown_with_exchange_currency_and_kind(look, serve, searches):
    serve("SAP.DE", "SAP SE", "GER")
    look("sap se")
    shown = look("  SAP   se ")
    assert 'data-symbol="SAP.DE"' in shown
    assert "XETRA, EUR, Equity" in shown
    assert "1 match." in shown
    assert "hx-get" not in shown
    assert searches() == ["sap se"]


def test_known_stocks_come_first_and_at_once(look, user, hold, nobody_answers):
    hold(user, "MSFT", "AAPL")
    Stock.objects.filter(symbol="AAPL").update(name="Apple Inc.", exchange="NMS", currency="USD")
    Stock.objects.filter(symbol="MSFT").update(name="Not aapl")
    shown = look("aapl")
    assert shown.index('data-symbol="AAPL"') < shown.index('data-symbol="MSFT"')
    assert "2 matches so far; searching at Yahoo…" in shown
    assert "question=2" in shown


def test_stocks_that_only_others_hold_are_not_listed(look, hold, django_user_model, nobody_answers):
    hold(django_user_model.objects.create_user("other"), "HIDDEN")
    Stock.objects.update(name="Hidden Corp.")
    assert "HIDDEN" not in look("hidden")


def test_what_yahoo_tells_is_listed_although_others_hold_it(look, hold, django_user_model, serve, searches):
    hold(django_user_model.objects.create_user("other"), "AAPL")
    serve("AAPL", "Apple Inc.")
    look("apple")
    assert 'data-symbol="AAPL"' in look("apple")


def test_watched_stocks_are_listed(look, configure, nobody_answers):
    configure(**{"market.watchlist": ("WATCHED",)})
    Stock.objects.create(symbol="WATCHED")
    assert "WATCHED" in look("watch")


def test_the_same_query_of_several_users_is_one_request(look, serve, yahoo, django_user_model, monkeypatch):
    handed: list[str] = []

    def hand_over(query: str) -> bool:
        handed.append(query)
        return True

    monkeypatch.setattr(symbol_search, "_hand_over", hand_over)
    look("apple")
    look("Apple", question=2)
    other = Client()
    other.force_login(django_user_model.objects.create_user("other"))
    other.get("/search/?q=APPLE")
    assert handed == ["apple"]


@pytest.mark.parametrize("text", ["", "a", "  a ", "\x00\x01", "   "])
def test_a_short_query_asks_nobody(text, look, searches):
    assert look(text).strip() == ""
    assert searches() == []


@pytest.mark.parametrize("text", ["x" * 5_000, "%_\\'\";--", "<b>", "ß" * 100, "a\x00b\u202ec"])
def test_hostile_queries_are_bounded_and_harmless(text, look, owner, searches):
    shown = look(text)
    assert "<b>" not in shown
    assert len(clean_query(text)) <= LONGEST_QUERY
    assert owner.get("/search/", {"q": text}).status_code == 200


@pytest.mark.parametrize("question", ["-1", "x", "9999999", "²", ""])
def test_a_wrong_number_of_the_question_is_no_error(question, owner, nobody_answers):
    assert owner.get("/search/", {"q": "apple", "question": question, "portfolio": question}).status_code == 200


def test_a_page_gives_up_after_a_bounded_number_of_questions(look, nobody_answers):
    assert SLOW in look("apple", question=MOST_QUESTIONS)
    assert "hx-get" not in look("apple", question=MOST_QUESTIONS)


def test_a_yahoo_that_is_away_is_told_and_not_asked_again_at_once(look, user, hold, yahoo, searches):
    hold(user, "AAPL")
    yahoo.misbehave("drop", SEARCH)
    look("aapl")
    shown = look("aapl")
    assert UNREACHABLE in shown
    assert 'data-symbol="AAPL"' in shown
    count = len(searches())
    look("aapl")
    assert len(searches()) == count


def test_a_yahoo_that_hangs_holds_a_worker_up_once(look, yahoo, searches, monkeypatch):
    monkeypatch.setattr("market.sources.yahoo.source.SEARCH_TIMEOUT", 0.3)
    yahoo.misbehave("timeout", SEARCH)
    look("apple")
    assert UNREACHABLE in look("apple")
    assert UNREACHABLE in look("microsoft")
    assert "microsoft" not in searches()


def test_a_refusal_pauses_the_source_and_is_told(look, yahoo, searches):
    yahoo.misbehave("rate_limited", SEARCH)
    look("apple")
    assert BUSY in look("apple")
    assert SourceState.objects.get().cooldown_until
    look("microsoft")
    assert BUSY in look("microsoft")
    assert searches() == ["apple"]


def test_a_search_counts_as_a_request_and_leaves_some_for_logins(look, yahoo, searches, configure):
    configure(**{"stock_jobs.data_fetch.rate_limit": 10})
    SourceUse.objects.create(source="yahoo_finance", granted_at=timezone.now(), requests=8)
    look("apple")
    assert searches() == ["apple"]
    assert sum(SourceUse.objects.values_list("requests", flat=True)) >= 9
    look("microsoft")
    assert BUSY in look("microsoft")
    assert searches() == ["apple"]


def test_a_user_who_types_on_is_asked_to_wait(look, nobody_answers, configure):
    configure(**{"stock_jobs.data_fetch.rate_limit": 1000, "integration.apis.yahoo_finance.rate_limit": 1000})
    for number in range(TYPING.a_minute):
        assert TOO_MANY not in look(f"query {number}")
    assert TOO_MANY in look("one more")
    assert "searching" in look("query 0", question=2)


def test_all_users_together_use_half_of_the_rate_limit(look, nobody_answers, configure):
    configure(**{"stock_jobs.data_fetch.rate_limit": 10})
    shown = [look(f"query {number}") for number in range(6)]
    assert [BUSY in one for one in shown] == [False] * 5 + [True]


def test_without_a_worker_and_direct_processing_the_page_says_so(look):
    assert NOBODY in look("apple")


def test_without_a_source_that_searches_only_known_stocks_are_found(look, configure):
    configure(**{"stock_jobs.data_fetch.sources": ("alpha_vantage",)})
    assert "No stock found" in look("apple")


def test_without_any_cache_known_stocks_are_found(look, user, hold, settings, tmp_path):
    hold(user, "AAPL")
    (tmp_path / "file").touch()
    settings.CACHES = {"default": {**settings.CACHES["default"], "LOCATION": str(tmp_path / "file")}}
    assert 'data-symbol="AAPL"' in look("aapl")
    assert SLOW in look("aapl", question=MOST_QUESTIONS)


def test_a_search_is_counted_once_however_often_a_page_asks(look, serve, searches):
    serve("AAPL", "Apple Inc.")
    for question in (1, 2, 3):
        look("apple", question=question)
    look("apple")
    uses = cache.uses_of_last_hour()
    assert uses is not None
    assert (uses["search", "misses"], uses["search", "hits"]) == (1, 1)


def test_the_page_works_without_a_script(owner, user, serve, searches):
    serve("AAPL", "Apple Inc.")
    portfolio = Portfolio.objects.create(user=user, name="Main")
    owner.get("/search/?q=apple")
    page = owner.get(f"/search/?q=apple&portfolio={portfolio.pk}").content.decode()
    assert f'<a href="/portfolios/{portfolio.pk}/add/?symbol=AAPL">AAPL</a>' in page
    assert 'value="AAPL"' in owner.get(f"/portfolios/{portfolio.pk}/add/?symbol=AAPL").content.decode()


def test_the_portfolio_of_another_user_is_not_offered(owner, django_user_model, serve, searches):
    serve("AAPL", "Apple Inc.")
    other = Portfolio.objects.create(user=django_user_model.objects.create_user("other"), name="Main")
    owner.get("/search/?q=apple")
    page = owner.get(f"/search/?q=apple&portfolio={other.pk}").content.decode()
    assert "/add/" not in page
    assert "Make a portfolio" in page


def test_an_isin_in_place_of_a_symbol_is_searched_for(owner, user):
    portfolio = Portfolio.objects.create(user=user, name="Main")
    given = {"symbol": "US0378331005", "shares": "1", "buy_price": ""}
    page = owner.post(f"/portfolios/{portfolio.pk}/add/", given).content.decode()
    assert "is an ISIN, not a symbol; choose one of the found symbols" in page
    assert '<div id="matches" hx-get="/search/?q=US0378331005" hx-trigger="load">' in page


def test_the_form_opens_no_transaction_when_it_is_shown(owner, user):
    portfolio = Portfolio.objects.create(user=user, name="Main")
    with CaptureQueriesContext(connection) as queries:
        owner.get(f"/portfolios/{portfolio.pk}/add/")
    assert not any("SAVEPOINT" in query["sql"] or "BEGIN" in query["sql"] for query in queries)


def test_of_two_forms_with_the_same_stock_the_second_gets_an_error(owner, user, monkeypatch):
    portfolio = Portfolio.objects.create(user=user, name="Main")
    save = NewHoldingForm.save

    def save_after_another(form):
        portfolio.holdings.create(stock=Stock.objects.get_or_create(symbol="AAPL")[0], shares=1)
        return save(form)

    monkeypatch.setattr(NewHoldingForm, "save", save_after_another)
    page = owner.post(f"/portfolios/{portfolio.pk}/add/", {"symbol": "AAPL", "shares": "2"})
    assert page.status_code == 200
    assert "AAPL is in this portfolio already; edit that holding." in page.content.decode()


@pytest.mark.django_db(transaction=True)
def test_forms_that_are_sent_at_the_same_moment_add_a_stock_once(user):
    portfolio = Portfolio.objects.create(user=user, name="Main")
    gate = threading.Barrier(4)
    answers: list[int] = []

    def add() -> None:
        client = Client()
        client.force_login(user)
        gate.wait()
        answers.append(client.post(f"/portfolios/{portfolio.pk}/add/", {"symbol": "AAPL", "shares": "2"}).status_code)
        connections.close_all()

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200, 200, 200, 302]
    assert Holding.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_this_process_searches_where_there_is_no_broker(look, serve, direct_processing, configure):
    configure(**{"queue.backend": "direct"})
    serve("AAPL", "Apple Inc.")
    assert "searching" in look("apple")
    assert direct.wait_until_idle(30)
    assert 'data-symbol="AAPL"' in look("apple", question=2)


@pytest.mark.django_db(transaction=True)
def test_a_worker_searches_and_the_cache_brings_its_answer(look, serve, broker, start, yahoo):
    serve("AAPL", "Apple Inc.")
    environment = yahoo.server.environment | {"CELERY_BROKER_URL": broker.url}
    with start(*WORKER, ready=" ready.", **environment):
        look("apple")
        wait_until(lambda: 'data-symbol="AAPL"' in look("apple", question=2), "the worker's answer")
