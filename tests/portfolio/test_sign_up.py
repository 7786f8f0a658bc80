"""Visitors make accounts for themselves, where the site allows it."""

import re
from datetime import timedelta

import pytest
import time_machine
from django.contrib.auth.models import User
from django.core import signing
from django.db import IntegrityError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from portfolio.accounts import sign_up as pages
from portfolio.accounts import throttle
from portfolio.mails import send_mails
from portfolio.models import OutgoingMail, SignUp
from tasks.upkeep.retention import clean_up, cutoff

PASSWORD = "a long new password 7"

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def is_open(configure) -> None:
    configure(**{"portfolio.sign_up": "open"})


@pytest.fixture
def sends_mail(settings) -> None:
    settings.SENDS_MAIL = True


def sign_up(name: str = "anna", address: str = "anna@example.com", *, client: Client | None = None, **more: str):
    """The answer to a visitor who fills in the form."""
    form = {"username": name, "email": address, "password1": PASSWORD, "password2": PASSWORD} | more
    return (client or Client()).post("/accounts/sign_up/", form, REMOTE_ADDR=more.get("at", "192.0.2.1"))


def link_in(mail) -> str:
    found = re.search(r"http://testserver(/accounts/sign_up/confirm/\S+)", mail.body)
    assert found
    return found[1]


def logs_in(name: str = "anna") -> bool:
    return (
        Client().login(username=name, password=PASSWORD)
        and Client().post("/accounts/login/", {"username": name, "password": PASSWORD}).status_code == 302
    )


def test_a_closed_site_has_no_sign_up(configure, client):
    configure(**{"portfolio.sign_up": "closed"})
    assert sign_up().status_code == client.get("/accounts/sign_up/").status_code == 404
    for page in ("sent/", "confirm/x/"):
        assert client.get(f"/accounts/sign_up/{page}").status_code == 404
    assert "/accounts/sign_up/" not in client.get("/accounts/login/").content.decode()
    assert not User.objects.exists()


def test_the_login_page_leads_to_the_sign_up_and_the_reset(client):
    page = client.get("/accounts/login/").content.decode()
    assert 'href="/accounts/sign_up/"' in page
    assert 'href="/accounts/password_reset/"' in page


def test_who_is_logged_in_is_sent_to_the_portfolio(client, user):
    client.force_login(user)
    for page in ("/accounts/sign_up/", "/accounts/sign_up/confirm/x/"):
        assert client.get(page)["Location"] == "/"


def test_without_mail_an_owner_is_logged_in_at_once_and_told_what_to_do(client):
    answer = sign_up(client=client)
    assert answer["Location"] == "/"
    page = client.get("/").content.decode()
    assert "Welcome, anna." in page
    assert "You have no portfolio yet" in page
    assert 'href="/portfolios/import/"' in page
    assert 'href="/portfolios/new/"' in page
    assert User.objects.get().email == "anna@example.com"
    assert not OutgoingMail.objects.exists()
    assert logs_in()


def test_without_mail_an_address_is_optional():
    assert sign_up(address="").status_code == 302


def test_with_mail_an_account_is_inactive_until_its_link_is_confirmed(sends_mail, mailoutbox):
    visitor = Client()
    page = visitor.get(sign_up(client=visitor)["Location"]).content.decode()
    assert "A mail with a link is on its way" in page
    assert not logs_in()
    send_mails()
    (mail,) = mailoutbox
    assert (mail.to, mail.subject) == (["anna@example.com"], "Your account at testserver")
    link = link_in(mail)
    assert "anna" in visitor.get(link).content.decode()
    assert not logs_in()  # programs that check mails open links
    done = visitor.post(link, follow=True)
    assert "The account anna is ready. Log in with its password." in done.content.decode()
    assert logs_in()
    assert "This link is no longer valid" in visitor.get(link).content.decode()
    assert "This link is no longer valid" in visitor.post(link).content.decode()


def test_the_sign_up_and_its_mail_are_stored_together_and_no_link_is(sends_mail, monkeypatch):
    sign_up()
    mail = OutgoingMail.objects.get()
    assert (mail.to, mail.user, mail.body) == ("anna@example.com", User.objects.get(), "")


def test_a_link_is_valid_for_a_day_and_then_the_account_is_deleted(sends_mail, mailoutbox):
    with time_machine.travel("2026-03-02 12:00Z"):
        sign_up()
        send_mails()
        link = link_in(mailoutbox[0])
    with time_machine.travel("2026-03-03 11:00Z"):
        assert clean_up(cutoff()).more["sign_ups"] == 0
        assert "gets the address" in Client().get(link).content.decode()
    with time_machine.travel("2026-03-03 13:00Z"):
        assert "no longer valid" in Client().post(link).content.decode()
        assert clean_up(cutoff()).more["sign_ups"] == 1
    assert not User.objects.exists()
    assert not SignUp.objects.exists()


def test_a_forged_link_and_one_of_another_purpose_are_not_valid(sends_mail):
    sign_up()
    user = User.objects.get()
    for token in ("x", signing.dumps(user.pk), signing.dumps("x", salt="portfolio.sign_up"), "a" * 5000):
        assert "no longer valid" in Client().post(f"/accounts/sign_up/confirm/{token}/").content.decode()
    assert not logs_in()


def test_a_user_whom_an_administrator_has_stopped_cannot_use_an_old_link(sends_mail, mailoutbox):
    sign_up()
    send_mails()
    Client().post(link_in(mailoutbox[0]))
    User.objects.update(is_active=False)
    assert "no longer valid" in Client().post(link_in(mailoutbox[0])).content.decode()
    assert not logs_in()


def test_an_address_with_an_account_gets_the_same_answer_and_its_owner_a_mail(sends_mail, mailoutbox):
    User.objects.create_user("owner", "Owner@example.com", PASSWORD)
    works = []
    for number, address in enumerate(("owner@example.com", "other@example.com")):
        with CaptureQueriesContext(connection) as queries:
            answer = sign_up(f"new{number}", address)
        works.append((answer.status_code, answer["Location"], [query["sql"].split()[0] for query in queries]))
    assert works[0] == works[1]
    # The names are taken in both cases, too.
    assert all("already exists" in sign_up(f"new{number}", "b@example.com").content.decode() for number in (0, 1))
    send_mails()
    theirs, mine = mailoutbox
    assert (theirs.to, theirs.subject) == (["Owner@example.com"], "You have an account at testserver")
    assert "You have the account owner already" in theirs.body
    assert "confirm" not in theirs.body
    assert "confirm" in mine.body


def test_of_two_sign_ups_with_an_address_one_is_confirmed(sends_mail, mailoutbox):
    sign_up("anna")
    sign_up("anna2", "Anna@example.com")
    send_mails()
    Client().post(link_in(mailoutbox[0]))
    assert "no longer valid" in Client().post(link_in(mailoutbox[1])).content.decode()
    assert logs_in("anna")
    assert not logs_in("anna2")


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("username", "", "This field is required."),
        ("username", "a" * 151, "at most 150 characters"),
        ("username", "an\x07na", "Null characters|valid username|control"),
        ("username", "anna maria", "Enter a valid username"),
        ("username", "OWNER", "A user with that username already exists."),
        ("username", "Admin", "A user with that username already exists."),
        ("username", "system", "A user with that username already exists."),
        ("email", "nowhere", "Enter a valid email address."),
        ("email", "", "This field is required."),
        ("password1", "other", "The two password fields did"),
        ("both", "short", "This password is too short."),
        ("both", "anna@example", "The password is too similar to the"),
        ("both", "123456789012", "This password is entirely numeric."),
    ],
)
def test_a_mistake_is_told_at_its_field_and_loses_nothing(field, value, problem, sends_mail):
    User.objects.create_user("owner")
    changes = {"password1": value, "password2": value} if field == "both" else {field: value}
    page = sign_up(**changes).content.decode()
    assert re.search(problem, page)
    if field != "email":
        assert 'value="anna@example.com"' in page
    assert PASSWORD not in page
    assert User.objects.count() == 1


def test_a_name_taken_in_the_same_moment_is_told_at_the_field(monkeypatch):
    def store(form, site):
        raise IntegrityError

    monkeypatch.setattr(pages, "_store", store)
    assert "A user with that username already exists." in sign_up().content.decode()


def test_a_client_has_so_many_attempts_in_an_hour_and_is_told_when_to_go_on(monkeypatch):
    monkeypatch.setattr(throttle, "SIGN_UP_FORMS", throttle.SIGN_UP_FORMS._replace(most=2))
    with time_machine.travel("2026-03-02 12:00Z", tick=False) as clock:
        sign_up("owner")
        assert "already exists" in sign_up("owner").content.decode()
        refused = sign_up("owner")
        assert refused.status_code == 429
        assert refused["Retry-After"] == "3600"
        assert "Too many requests. Try again in 60 minutes." in refused.content.decode()
        assert "already exists" not in refused.content.decode()
        assert 'value="anna@example.com"' in refused.content.decode()
        clock.shift(timedelta(minutes=61))
        assert sign_up("next").status_code == 302


def test_an_address_gets_three_mails_in_an_hour_and_all_sign_ups_have_a_limit(sends_mail, monkeypatch):
    assert [sign_up(f"anna{number}").status_code for number in range(4)] == [302, 302, 302, 429]
    monkeypatch.setattr(throttle, "SIGN_UPS", throttle.SIGN_UPS._replace(most=4))
    assert [sign_up(f"b{number}", f"b{number}@example.com").status_code for number in range(2)] == [302, 429]
    assert User.objects.count() == 4


def test_a_form_of_another_site_is_refused():
    visitor = Client(enforce_csrf_checks=True)
    assert sign_up(client=visitor).status_code == 403
    assert not User.objects.exists()


def test_a_new_owner_who_guesses_passwords_is_locked_out():
    sign_up()
    answers = [Client().post("/accounts/login/", {"username": "anna", "password": "x"}) for _ in range(6)]
    assert answers[-1].status_code == 429
