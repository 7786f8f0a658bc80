"""Owners choose currency, time zone, benchmark and mails, and change the address of their mails."""

import re
from datetime import UTC, datetime

import pytest
import time_machine
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from market.models import Stock
from portfolio.currencies import CURRENCIES
from portfolio.mails import send_mails
from portfolio.models import OutgoingMail, Preferences
from portfolio.time_zone import OwnersZone, zone_of, zones

PAGE = "/accounts/preferences/"
CHOICES = {"base_currency": "EUR", "time_zone": "Europe/Berlin", "benchmark": "^stoxx50e", "mails_alerts": "on"}

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner(client) -> User:
    user = User.objects.create_user("owner", "owner@example.com", "secret")
    client.force_login(user)
    return user


@pytest.fixture
def sends_mail(settings) -> None:
    settings.SENDS_MAIL = True


def change_address(client, address: str, password: str = "secret"):
    return client.post("/accounts/address/", {"email": address, "password": password})


def link_in(mail) -> str:
    found = re.search(r"http://testserver(/accounts/address/confirm/\S+)", mail.body)
    assert found
    return found[1]


def test_the_header_leads_to_the_preferences_which_lead_to_everything_about_the_account(client, owner):
    assert f'href="{PAGE}"' in client.get("/").content.decode()
    page = client.get(PAGE).content.decode()
    for address in ("password_change", "address", "delete"):
        assert f'href="/accounts/{address}/"' in page


def test_preferences_are_kept(client, owner):
    assert not Preferences.objects.exists()
    assert client.post(PAGE, CHOICES)["Location"] == PAGE
    mine = Preferences.objects.get(user=owner)
    assert (mine.currency, mine.time_zone, mine.benchmark) == ("EUR", "Europe/Berlin", "^STOXX50E")
    assert mine.mails_alerts
    page = client.get(PAGE).content.decode()
    assert "Your preferences were saved." in page
    assert '<option value="EUR" selected>EUR, Euro</option>' in page
    assert '<option value="Europe/Berlin" selected>Berlin</option>' in page
    client.post(PAGE, CHOICES | {"base_currency": "", "mails_alerts": ""})
    mine = Preferences.objects.get(user=owner)
    assert (mine.currency, mine.mails_alerts) == ("USD", False)


def test_the_form_begins_with_the_defaults_and_stores_nothing(client, owner, configure):
    configure(**{"portfolio.base_currency": "CHF"})
    page = client.get(PAGE).content.decode()
    assert "As this site: CHF" in page
    assert '<option value="UTC" selected>' in page
    assert 'value="^GSPC"' in page
    assert not Preferences.objects.exists()


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("base_currency", "XXX", "XXX is not one of the available choices"),
        ("base_currency", "eur", "eur is not one of the available choices"),
        ("time_zone", "Mars/Olympus", "Mars/Olympus is not one of the available choices"),
        ("time_zone", "../../etc/passwd", "is not one of the available choices"),
        ("time_zone", "", "This field is required."),
        ("benchmark", "S&P 500", "is not a symbol"),
        ("benchmark", "US78378X1072", "is an ISIN, not a symbol"),
        ("benchmark", "A" * 70, "at most 64 characters"),
        ("benchmark", "A" * 40, "a symbol has at most 32"),
    ],
)
def test_a_wrong_choice_is_told_at_its_field_and_changes_nothing(client, owner, field, value, problem):
    client.post(PAGE, CHOICES)
    page = client.post(PAGE, CHOICES | {field: value}).content.decode()
    assert problem in page.replace("&amp;", "&")
    assert Preferences.objects.get().benchmark == "^STOXX50E"


def test_currencies_are_codes_of_iso_4217_with_the_default_among_them(settings):
    assert all(re.fullmatch("[A-Z]{3}", code) for code in CURRENCIES)
    assert settings.JOB_PROCESSOR.portfolio.base_currency in CURRENCIES


def test_times_are_in_the_time_zone_of_the_owner(client, owner, hold):
    hold(owner, "AAPL")
    Stock.objects.update(checked_at=datetime(2026, 7, 1, 12, 30, tzinfo=UTC), status="active")
    with time_machine.travel("2026-07-01 13:00Z", tick=False):
        assert 'title="2026-07-01 12:30:00 UTC"' in client.get("/").content.decode()
        Preferences.objects.create(user=owner, time_zone="America/New_York")
        assert 'title="2026-07-01 08:30:00 EDT"' in client.get("/").content.decode()
    assert timezone.get_current_timezone_name() == "UTC"


@pytest.mark.parametrize(("address", "expected"), [("/portfolios/import/", 0), ("/stocks/AAPL/", 1), ("/", 1)])
def test_preferences_take_at_most_one_query_of_a_page(client, owner, hold, address, expected):
    hold(owner, "AAPL")
    Stock.objects.update(checked_at=timezone.now())
    with CaptureQueriesContext(connection) as queries:
        client.get(address)
    assert sum("portfolio_preferences" in query["sql"] for query in queries) == expected


def test_the_admin_and_visitors_have_utc(rf, admin_client, admin_user):
    Preferences.objects.create(user=admin_user, time_zone="Asia/Tokyo")
    stock = Stock.objects.create(symbol="AAPL", checked_at=datetime(2026, 7, 1, 12, 30, tzinfo=UTC))
    assert "12:30" in admin_client.get(f"/admin/market/stock/{stock.pk}/change/").content.decode()
    request = rf.get("/")
    request.user = Client().get("/accounts/login/").wsgi_request.user
    moment = timezone.localtime(datetime(2026, 7, 1, 12, 30, tzinfo=UTC), OwnersZone(request))
    assert moment.isoformat() == "2026-07-01T12:30:00+00:00"


def test_a_time_zone_that_the_machine_does_not_know_any_more_is_utc():
    assert zone_of("Europe/Atlantis").key == "UTC"
    assert {"UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires"} <= zones()
    assert not any(name.startswith(("Etc/", "posix/")) for name in zones())


def test_without_mail_a_new_address_counts_at_once(client, owner):
    assert change_address(client, "new@example.com")["Location"] == PAGE
    assert User.objects.get().email == "new@example.com"
    assert "Your address is new@example.com now." in client.get(PAGE).content.decode()


def test_with_mail_a_new_address_counts_when_its_link_is_confirmed(client, owner, sends_mail, mailoutbox):
    change_address(client, "new@example.com")
    assert "A mail is on its way to new@example.com" in client.get(PAGE).content.decode()
    send_mails()
    (mail,) = mailoutbox
    assert mail.to == ["new@example.com"]
    link = link_in(mail)
    assert "Your mails will go to new@example.com" in client.get(link).content.decode()
    assert User.objects.get().email == "owner@example.com"
    assert client.post(link)["Location"] == PAGE
    assert User.objects.get().email == "new@example.com"
    send_mails()
    assert mailoutbox[1].to == ["owner@example.com"]
    assert "The address is new@example.com now." in mailoutbox[1].body
    assert "This link is not valid" in client.post(link).content.decode()


def test_a_link_counts_for_its_user_alone_and_for_a_day(client, owner, sends_mail, mailoutbox, user):
    with time_machine.travel("2026-03-02 12:00Z"):
        client.force_login(owner)
        change_address(client, "new@example.com")
        send_mails()
        link = link_in(mailoutbox[0])
        other = Client()
        assert other.post(link)["Location"].startswith("/accounts/login/")
        other.force_login(user)
        assert "belongs to another account" in other.post(link).content.decode()
    with time_machine.travel("2026-03-03 12:01Z"):
        client.force_login(owner)
        assert "is too old" in client.post(link).content.decode()
    assert User.objects.get(pk=owner.pk).email == "owner@example.com"


def test_the_address_of_another_account_gets_a_note_to_its_owner(client, owner, sends_mail, mailoutbox):
    User.objects.create_user("other", "other@example.com")
    assert change_address(client, "OTHER@example.com")["Location"] == PAGE
    send_mails()
    (mail,) = mailoutbox
    assert (mail.to, mail.subject) == (["other@example.com"], "You have an account at testserver")
    assert "confirm" not in mail.body


def test_an_address_that_another_account_took_meanwhile_cannot_be_confirmed(client, owner, sends_mail, mailoutbox):
    change_address(client, "new@example.com")
    send_mails()
    User.objects.create_user("other", "new@example.com")
    assert "This link is not valid" in client.post(link_in(mailoutbox[0])).content.decode()


def test_an_address_is_removed_at_once(client, owner, sends_mail, mailoutbox):
    change_address(client, "")
    assert User.objects.get().email == ""
    send_mails()
    assert "The account has no address now." in mailoutbox[0].body
    assert "Your address was removed." in client.get(PAGE).content.decode()


def test_the_same_address_changes_nothing(client, owner, sends_mail):
    assert change_address(client, "owner@example.com")["Location"] == PAGE
    assert not OutgoingMail.objects.exists()


def test_a_wrong_password_changes_no_address_and_is_limited(client, owner):
    for _ in range(10):
        page = change_address(client, "new@example.com", "wrong").content.decode()
        assert "This is not your password." in page
        assert 'value="new@example.com"' in page
    page = change_address(client, "new@example.com").content.decode()
    assert "Too many requests. Try again in 60 minutes." in page
    assert User.objects.get().email == "owner@example.com"


def test_mails_to_new_addresses_are_limited(client, owner, sends_mail):
    answers = [change_address(client, f"new{number}@example.com").status_code for number in range(6)]
    assert answers == [302] * 5 + [429]


@pytest.mark.parametrize("page", [PAGE, "/accounts/address/", "/accounts/delete/", "/accounts/address/confirm/x/"])
def test_a_visitor_is_sent_to_the_login(page):
    assert Client().get(page)["Location"].startswith("/accounts/login/")
    assert Client().post(page)["Location"].startswith("/accounts/login/")
