"""What users and administrators see, and what they may not."""

import re
from datetime import date, timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from market.jobs.requests import request_fetches
from market.models import PriceBar, Stock
from portfolio.models import Holding, Portfolio
from portfolio.views import ROWS_AT_ONCE
from tasks.models import Job, JobRequest
from tests.support.jobs import new_job

pytestmark = pytest.mark.django_db


@pytest.fixture
def page(user, client):
    """The user's page after what the test has set up."""
    client.force_login(user)
    Job.objects.all().delete()
    return lambda: client.get("/").content.decode()


def priced(symbol: str, close: float, **fields: object) -> Stock:
    stock = Stock.objects.create(symbol=symbol, currency="USD", checked_at=timezone.now(), **fields)
    PriceBar.objects.create(stock=stock, date=date(2026, 11, 20), close=close)
    return stock


def held(user, stock: Stock, shares: str = "10", buy_price: str | None = "2") -> None:
    portfolio, _ = Portfolio.objects.get_or_create(user=user, name="Main")
    price = None if buy_price is None else Decimal(buy_price)
    Holding.objects.create(portfolio=portfolio, stock=stock, shares=Decimal(shares), buy_price=price)


def test_a_visitor_is_led_to_the_login(client):
    assert client.get("/").url == "/accounts/login/?next=/"


def test_the_page_shows_price_value_gain_and_freshness(user, page):
    held(user, priced("AAPL", 3.25))
    shown = page()
    for text in ("AAPL", "$3.25", "$32.50", "+12.50", "fresh", "just now", "close of 2026-11-20"):
        assert text in shown
    assert "stale" not in shown


def test_a_stock_past_its_limit_is_shown_as_stale(user, page):
    held(user, priced("AAPL", 3.25))
    Stock.objects.update(checked_at=timezone.now() - timedelta(hours=5))
    shown = page()
    assert "stale" in shown
    assert "5\xa0hours ago" in shown


def test_a_stock_without_a_price_shows_none_and_is_left_out_of_the_total(user, page):
    held(user, priced("AAPL", 3.0))
    held(user, Stock.objects.create(symbol="NEW"))
    shown = page()
    assert "$30.00" in shown
    assert "Without 1 that has no price yet" in shown


def test_a_holding_without_a_buy_price_counts_with_its_value_and_not_in_the_gain(user, page):
    held(user, priced("AAPL", 3.25))
    held(user, priced("MSFT", 1.0), buy_price=None)
    shown = page()
    assert "<strong>$42.50</strong>" in shown
    assert "(buy price of 1 unknown)" in shown
    assert shown.count("+12.50") == 2  # the holding's, and the total's
    assert '<span class="muted" title="The buy price is unknown.">unknown</span>' in shown


def test_where_no_buy_price_is_known_the_gain_is_unknown(user, page):
    held(user, priced("AAPL", 3.25), buy_price=None)
    held(user, Stock.objects.create(symbol="NEW"), buy_price=None)
    shown = page()
    assert "<strong>$32.50</strong>" in shown
    assert "gain unknown" in shown
    assert not re.search(r"[+-]\d+\.\d\d", shown)


def test_the_admin_shows_an_unknown_buy_price_and_takes_an_empty_one(admin_client, user):
    held(user, priced("AAPL", 3.25))
    holding = Holding.objects.get()
    address = reverse("admin:portfolio_holding_change", args=[holding.pk])
    fields = {"portfolio": holding.portfolio_id, "stock": holding.stock_id, "shares": "10", "buy_price": ""}
    assert admin_client.post(address, fields).status_code == 302
    holding.refresh_from_db()
    assert holding.buy_price is None
    assert "unknown" in admin_client.get(reverse("admin:portfolio_holding_changelist")).content.decode()


def test_a_currency_without_a_rate_is_left_out_of_the_total(user, page):
    held(user, priced("AAPL", 3.0))
    euro = priced("SAP.DE", 7.0)
    Stock.objects.filter(pk=euro.pk).update(currency="EUR")
    held(user, euro)
    shown = page()
    assert "<strong>$30.00</strong>" in shown
    assert "Without the stocks in EUR: the exchange rate is not known yet." in shown


def test_a_stock_with_an_active_fetch_is_shown_as_updating(user, page):
    stock = priced("AAPL", 3.0)
    held(user, stock)
    assert "updating" not in page()
    request_fetches([stock], Job.Trigger.USER_REQUEST)
    assert "updating" in page()


def test_why_a_fetch_failed_is_shown_until_one_succeeds(user, page):
    held(user, priced("AAPL", 3.0))
    new_job("AAPL", "failed", error="Yahoo Finance answered 503 for AAPL")
    assert "Yahoo Finance answered 503 for AAPL" in page()
    new_job("AAPL", "completed")
    assert "Yahoo Finance answered 503 for AAPL" not in page()


def test_invented_prices_are_marked(user, page):
    held(user, priced("AAPL", 3.0, source="sample"))
    assert "sample data" in page()


def test_a_user_without_a_portfolio_is_told_so(page):
    assert "You have no portfolio yet" in page()


def test_a_portfolio_without_holdings_is_told_so(user, page):
    Portfolio.objects.create(user=user, name="Empty")
    assert "This portfolio holds nothing yet" in page()


def test_nobody_sees_what_others_hold(user, page, django_user_model):
    held(django_user_model.objects.create_user("other"), priced("AAPL", 3.0))
    assert "AAPL" not in page()


def test_the_page_takes_the_same_number_of_queries_for_1_and_100_holdings(
    user, hold, client, django_assert_num_queries
):
    client.force_login(user)
    hold(user, "AAPL")
    Stock.objects.update(exchange="NMS")
    with django_assert_num_queries(7):  # session, user, holdings, exchanges, portfolios, notes of splits, alerts
        client.get("/")
    hold(user, *(f"S{number}" for number in range(99)))
    with django_assert_num_queries(7):
        client.get("/")


def test_a_large_portfolio_appears_with_its_first_rows_and_the_others_follow(user, hold, client, django_user_model):
    hold(user, *(f"S{number:03}" for number in range(ROWS_AT_ONCE + 20)))
    client.force_login(user)
    first = client.get("/?sort=stock").content.decode()
    assert "S000" in first
    assert f"Show all {ROWS_AT_ONCE + 20} stocks" in first
    address = f"/portfolios/{Portfolio.objects.get().pk}/rows/?sort=stock"
    assert f'hx-get="{address}"' in first
    others = client.get(address).content.decode()
    assert [first.count('<tr id="holding-'), others.count('<tr id="holding-')] == [ROWS_AT_ONCE, 20]
    assert client.get("/?all=1").content.decode().count('<tr id="holding-') == ROWS_AT_ONCE + 20
    client.force_login(django_user_model.objects.create_user("other"))
    assert client.get(address).status_code == 404


def test_refresh_asks_for_fresh_and_stale_alike(user, hold, client):
    hold(user, "AAPL", "MSFT")
    Stock.objects.update(checked_at=timezone.now())
    client.force_login(user)
    answer = client.post("/refresh/", follow=True)
    assert "queued AAPL, MSFT" in answer.content.decode()
    jobs = Job.objects.values_list("symbol", "trigger", "priority", "queue")
    assert sorted(jobs) == [(symbol, "user_request", 3, "foreground") for symbol in ("AAPL", "MSFT")]


def test_many_clicks_on_refresh_make_one_job(user, hold, client):
    hold(user, "AAPL")
    Stock.objects.update(checked_at=timezone.now())
    client.force_login(user)
    for _ in range(5):
        client.post("/refresh/")
    assert Job.objects.count() == 1


def test_refresh_takes_only_a_post_with_a_csrf_token(user, hold):
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    assert client.get("/refresh/").status_code == 405
    assert client.post("/refresh/").status_code == 403


@pytest.mark.parametrize("path", ["/", "/holdings/", "/live/", "/refresh/"])
def test_no_page_is_shown_to_visitors(client, path):
    answer = client.post(path) if path == "/refresh/" else client.get(path)
    assert answer.url.startswith("/accounts/login/")


ADMIN_PAGES = (
    "market_stock",
    "market_pricebar",
    "tasks_job",
    "tasks_jobevent",
    "tasks_jobrequest",
    "tasks_worker",
    "portfolio_portfolio",
    "portfolio_holding",
    "portfolio_portfoliopriority",
    "auth_user",
    "auth_group",
    "django_celery_results_taskresult",
)


@pytest.mark.parametrize("name", ADMIN_PAGES)
def test_the_admin_lists_and_searches_everything(admin_client, user, hold, name):
    request_fetches(hold(user, "AAPL"), Job.Trigger.USER_REQUEST, user)
    address = reverse(f"admin:{name}_changelist")
    assert admin_client.get(address).status_code == 200
    assert admin_client.get(address, {"q": "AAPL"}).status_code == 200


def test_the_admin_shows_a_job_with_its_events_and_requesters(admin_client, user, hold):
    job = request_fetches(hold(user, "AAPL"), Job.Trigger.USER_REQUEST, user).created[0]
    shown = admin_client.get(reverse("admin:tasks_job_change", args=[job.pk])).content.decode()
    assert user.username in shown
    assert "priority 3 in foreground" in shown
    listed = admin_client.get(reverse("admin:tasks_job_changelist")).content.decode()
    assert user.username in listed


@pytest.mark.parametrize("model", ["job", "jobevent"])
def test_the_admin_changes_no_job_by_hand(admin_client, user, hold, model):
    request_fetches(hold(user, "AAPL"), Job.Trigger.USER_REQUEST, user)
    assert admin_client.get(reverse(f"admin:tasks_{model}_add")).status_code == 403


def act(client: Client, model: str, *pks: int):
    address = reverse(f"admin:{model}_changelist")
    return client.post(address, {"action": "fetch_now", "_selected_action": pks}, follow=True)


def test_fetch_now_on_stocks_asks_with_priority_3(admin_client, admin_user):
    stocks = [Stock.objects.create(symbol=symbol) for symbol in ("AAPL", "MSFT")]
    answer = act(admin_client, "market_stock", *(stock.pk for stock in stocks))
    assert "Queued AAPL, MSFT." in answer.content.decode()
    assert set(Job.objects.values_list("trigger", "priority", "queue")) == {("user_request", 3, "foreground")}
    assert set(JobRequest.objects.values_list("user", flat=True)) == {admin_user.pk}


def test_fetch_now_again_joins_what_is_on_its_way(admin_client):
    stock = Stock.objects.create(symbol="AAPL")
    act(admin_client, "market_stock", stock.pk)
    answer = act(admin_client, "market_stock", stock.pk)
    assert "Already requested: AAPL." in answer.content.decode()
    assert Job.objects.count() == 1


def test_fetch_now_on_portfolios_asks_for_each_stock_once(admin_client, user, hold, django_user_model):
    hold(user, "AAPL", "MSFT")
    hold(django_user_model.objects.create_user("other"), "AAPL")
    act(admin_client, "portfolio_portfolio", *Portfolio.objects.values_list("pk", flat=True))
    assert sorted(Job.objects.values_list("symbol", flat=True)) == ["AAPL", "MSFT"]


def test_fetch_now_needs_the_permission_to_add_jobs(client, django_user_model):
    staff = django_user_model.objects.create_user("staff", is_staff=True)
    staff.user_permissions.add(*Permission.objects.filter(codename__in=["view_stock", "change_stock"]))
    client.force_login(staff)
    stock = Stock.objects.create(symbol="AAPL")
    act(client, "market_stock", stock.pk)
    assert not Job.objects.exists()
    staff.user_permissions.add(Permission.objects.get(codename="add_job"))
    act(client, "market_stock", stock.pk)
    assert Job.objects.count() == 1
