"""Owners delete their accounts, with all data about them."""

import pytest
from axes.models import AccessAttempt
from django.apps import apps
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client

from market.models import Stock
from portfolio.fetching import fetch_stale_holdings
from portfolio.mails import queue_letter, queue_mail
from portfolio.models import AssignedColumns, AssignedSymbol, OutgoingMail, Portfolio, Preferences
from tasks.models import Job, JobEvent, JobRequest

PAGE = "/accounts/delete/"

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner(client) -> User:
    user = User.objects.create_user("owner", "owner@example.com", "secret")
    client.force_login(user)
    return user


def rows_of(user_id: int) -> dict[str, int]:
    """How many rows of each model lead to the user."""
    return {
        f"{model._meta.label}.{field.name}": model._default_manager.filter(**{field.attname: user_id}).count()
        for model in apps.get_models()
        for field in model._meta.concrete_fields
        if field.related_model is User
    }


def test_an_account_is_deleted_with_all_data_of_its_owner(client, owner, hold, user):
    hold(owner, "AAPL")
    hold(user, "AAPL", "MSFT")
    fetch_stale_holdings(owner)
    Preferences.objects.create(user=owner)
    AssignedSymbol.objects.create(user=owner, number="US0378331005", symbol="AAPL")
    AssignedColumns.objects.create(user=owner, digest="x", names=[], columns={})
    queue_mail(["owner@example.com", "other@example.com"], "Prices", "text")
    queue_letter(OutgoingMail.Letter.ADDRESS, "new@example.com", "http://x", owner)
    Client().post("/accounts/login/", {"username": "owner", "password": "wrong"})
    assert AccessAttempt.objects.count() == 1
    answer = client.post(PAGE, {"password": "secret"}, follow=True)
    assert answer.redirect_chain == [("/accounts/login/", 302)]
    assert "The account owner and its data were deleted." in answer.content.decode()
    assert not any(rows_of(owner.pk).values())
    assert not User.objects.filter(pk=owner.pk).exists()
    assert not AccessAttempt.objects.exists()
    assert list(OutgoingMail.objects.values_list("to", flat=True)) == ["other@example.com"]
    # Of others and of the market, nothing is lost.
    assert Portfolio.objects.get().user == user
    assert set(Stock.objects.values_list("symbol", flat=True)) == {"AAPL", "MSFT"}


def test_jobs_stay_without_the_user(client, owner, hold):
    hold(owner, "AAPL")
    fetch_stale_holdings(owner)
    client.post(PAGE, {"password": "secret"})
    job = Job.objects.get()
    assert (job.user, job.status) == (None, "pending")
    assert not JobRequest.objects.exists()
    assert "owner" not in str(JobEvent.objects.values_list("payload", flat=True))


def test_all_sessions_of_the_user_end_and_others_stay(client, owner, user):
    elsewhere, other = Client(), Client()
    elsewhere.force_login(owner)
    other.force_login(user)
    client.post(PAGE, {"password": "secret"})
    assert elsewhere.get("/")["Location"].startswith("/accounts/login/")
    assert other.get("/").status_code == 200
    assert [one.get_decoded()["_auth_user_id"] for one in Session.objects.all()] == [str(user.pk)]


def test_the_page_offers_an_export_and_says_what_goes(client, owner, hold):
    assert "export" not in client.get(PAGE).content.decode()
    hold(owner, "AAPL")
    page = client.get(PAGE).content.decode()
    assert 'href="/portfolios/export/holdings.csv"' in page
    assert "Your 1 portfolio, preferences and all other data about you are deleted." in page
    assert User.objects.filter(pk=owner.pk).exists()


@pytest.mark.parametrize("password", ["wrong", "", "a" * 5000])
def test_a_wrong_password_deletes_nothing(client, owner, password):
    assert 'class="error"' in client.post(PAGE, {"password": password}).content.decode()
    assert User.objects.filter(pk=owner.pk).exists()


def test_the_last_administrator_cannot_be_deleted(client, admin_user):
    admin_user.set_password("secret")
    admin_user.save()
    client.force_login(admin_user)
    User.objects.create_superuser("stopped", is_active=False)
    page = client.post(PAGE, {"password": "secret"}).content.decode()
    assert "This is the only account of an administrator" in page
    assert "<form" not in page.partition("<main>")[2]
    User.objects.create_superuser("second")
    assert client.post(PAGE, {"password": "secret"})["Location"] == "/accounts/login/"
    assert [user.username for user in User.objects.filter(is_superuser=True, is_active=True)] == ["second"]


def test_a_form_of_another_site_deletes_nothing(owner):
    visitor = Client(enforce_csrf_checks=True)
    visitor.force_login(owner)
    assert visitor.post(PAGE, {"password": "secret"}).status_code == 403
    assert User.objects.filter(pk=owner.pk).exists()


def test_a_user_deleted_in_the_admin_leaves_no_failed_logins(admin_client, owner):
    Client().post("/accounts/login/", {"username": "owner", "password": "wrong"})
    admin_client.post(f"/admin/auth/user/{owner.pk}/delete/", {"post": "yes"})
    assert not User.objects.filter(pk=owner.pk).exists()
    assert not AccessAttempt.objects.exists()
