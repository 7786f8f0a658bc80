"""The admin's page "Stock data" needs a permission, has a sound form, and says when the database is away."""

import re

import pytest
from django.contrib.auth.models import Permission
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from market.models import Analysis, Stock
from operations.monitoring import health
from portfolio.models import Login, PortfolioPriority
from tests.support.jobs import new_job
from tests.support.stock_data_page import FIGURES, PAGE, alert, logged_in
from tests.support.workers import new_worker

pytestmark = pytest.mark.django_db


def test_the_predecessors_address_leads_to_the_page(admin_client):
    assert admin_client.get("/admin/stock_data_admin.php").url == PAGE


def test_the_number_of_queries_does_not_grow(admin_client, server_health, user, hold):
    def ask_with(*symbols: str) -> int:
        hold(user, *symbols)
        for symbol in symbols:
            new_job(symbol, "running", worker_id=f"{symbol}@here:1")
            new_worker(f"{symbol}@here:1")
            logged_in(user, new_job(f"{symbol}X", "failed", error=f"no {symbol}"), 5)
            Login.objects.create(at=timezone.now(), stocks=1, stale=0)
            new_job(f"{symbol}Y", "completed", job_type="stock_batch_fetch", parameters={"ahead": 5})
            alert(f"alert-{symbol}", "raised", acknowledged_by=user)
            stock = Stock.objects.get(symbol=symbol)
            PortfolioPriority.objects.create(user=user, stock=stock)
            Analysis.objects.create(stock=stock, kind="technical", version="1")
        with CaptureQueriesContext(connection) as queries:
            assert admin_client.get(FIGURES).status_code == 200
        return len(queries)

    few = ask_with("ONE")
    assert ask_with(*(f"S{number}" for number in range(40))) == few < 40


def test_the_navigation_leads_to_the_page(admin_client, server_health):
    assert f'href="{PAGE}"' in admin_client.get("/admin/").content.decode()
    shown = admin_client.get(PAGE).content.decode()
    assert reverse("admin:operations_stockdata_changelist") == PAGE
    assert "Stock data" in shown
    assert f'data-address="{FIGURES}"' in shown


def test_scripts_and_styles_come_from_this_site_and_htmx_from_its_package(admin_client, server_health):
    shown = admin_client.get(PAGE).content.decode()
    sources = re.findall(r'<(?:script|link)[^>]*\b(?:src|href)="([^"]*)"', shown)
    assert all(source.startswith("/static/") for source in sources)
    assert "/static/django_htmx/htmx-2.min.js" in sources


def test_each_section_has_a_heading_and_each_table_a_caption(admin_client, server_health, user, hold):
    PortfolioPriority.objects.create(user=user, stock=hold(user, "AAPL")[0])
    new_worker()
    new_job("B", "failed", error="no")
    shown = admin_client.get(FIGURES).content.decode()
    labels = re.findall(r'<section [^>]*aria-labelledby="([^"]+)"', shown)
    assert len(labels) == shown.count("<section ")
    assert all(f'<h2 id="{label}">' in shown for label in labels)
    assert shown.count("<table>") == shown.count("<caption>") == 9


@pytest.mark.parametrize("path", [PAGE, FIGURES])
def test_the_page_is_only_read(admin_client, server_health, path):
    assert admin_client.post(path).status_code == 405


@pytest.mark.parametrize("is_staff", [False, True])
def test_nobody_sees_it_without_the_permission(client, server_health, django_user_model, is_staff):
    someone = django_user_model.objects.create_user("someone", is_staff=is_staff)
    client.force_login(someone)
    answer = client.get(PAGE)
    assert answer.status_code == (403 if is_staff else 302)
    assert client.get(FIGURES).content == b""
    if is_staff:
        assert "Stock data" not in client.get("/admin/").content.decode()


def test_staff_with_the_permission_see_it_and_it_is_in_their_navigation(client, server_health, django_user_model):
    staff = django_user_model.objects.create_user("staff", is_staff=True)
    staff.user_permissions.add(Permission.objects.get(codename="view_stockdata"))
    client.force_login(staff)
    assert client.get(PAGE).status_code == 200
    assert client.get(FIGURES).status_code == 200
    assert f'href="{PAGE}"' in client.get("/admin/").content.decode()


def test_a_visitor_is_led_to_the_login_and_an_open_page_too_once_its_session_is_over(client, server_health):
    assert client.get(PAGE).url == f"/admin/login/?next={PAGE}"
    answer = client.get(FIGURES)
    assert answer.status_code == 200
    assert answer["HX-Refresh"] == "true"  # the browser asks for the whole page


def test_while_the_database_is_away_both_the_page_and_its_figures_say_so(client, server_health):
    server_health(database="does not answer")
    for path in (PAGE, FIGURES):
        answer = client.get(path)
        assert answer.status_code == 503
        assert "The database does not answer" in answer.content.decode()
    assert '<meta http-equiv="refresh" content="5">' in client.get(PAGE).content.decode()


def test_a_database_that_is_lost_half_way_is_told_the_same_way_and_found_again(
    admin_client, server_health, monkeypatch
):
    def fail(_rule: object) -> None:
        raise OperationalError("the address of the server\nand more")

    with monkeypatch.context() as patch:
        patch.setattr("operations.monitoring.holdings_freshness.held_stocks", fail)
        for path in (PAGE, FIGURES):
            answer = admin_client.get(path)
            assert answer.status_code == 503
            assert "The database does not answer" in answer.content.decode()
            assert "address of the server" not in answer.content.decode()
    assert admin_client.get(FIGURES).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_a_database_that_cannot_be_opened_is_noticed_and_so_is_its_return(admin_client, monkeypatch):
    for name, look in (("_database", health._look_at_database), ("_broker", health._look_at_broker)):
        monkeypatch.setattr(health, name, health._Check(look))
    with monkeypatch.context() as patch:
        patch.setitem(connection.settings_dict, "NAME", "/nonexistent/secret.sqlite3")
        answer = admin_client.get(FIGURES)
        assert (answer.status_code, "secret" in answer.content.decode()) == (503, False)
    assert admin_client.get(FIGURES).status_code == 200
