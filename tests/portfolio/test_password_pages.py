"""Passwords are changed and reset on pages in the product's own look."""

import re
from datetime import timedelta

import pytest
import time_machine
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from portfolio.accounts import throttle
from portfolio.accounts.links import site_of
from portfolio.mails import send_mails
from portfolio.models import Attempt, OutgoingMail, SignUp

pytestmark = pytest.mark.django_db

NEW = "a long new password 7"


@pytest.fixture
def owner(client, django_user_model) -> Client:
    user = django_user_model.objects.create_user("owner", "owner@example.com", "an old password 3")
    client.force_login(user)
    return client


@pytest.fixture
def sends_mail(settings) -> None:
    settings.SENDS_MAIL = True


def ask(address: str, client: str = "192.0.2.1"):
    """The answer to a visitor who asks for a link."""
    return Client().post("/accounts/password_reset/", {"email": address}, REMOTE_ADDR=client)


def own_look(page) -> bool:
    return page.status_code == 200 and 'class="brand"' in page.content.decode()


def test_a_password_is_changed_from_the_preferences(owner):
    assert 'href="/accounts/password_change/"' in owner.get("/accounts/preferences/").content.decode()
    assert own_look(owner.get("/accounts/password_change/"))
    wrong = owner.post(
        "/accounts/password_change/", {"old_password": "no", "new_password1": NEW, "new_password2": NEW}
    )
    assert "Your old password was entered incorrectly" in wrong.content.decode()
    done = owner.post(
        "/accounts/password_change/",
        {"old_password": "an old password 3", "new_password1": NEW, "new_password2": NEW},
        follow=True,
    )
    assert own_look(done)
    assert "The password was changed" in done.content.decode()


def test_a_forgotten_password_is_reset_by_a_link_in_a_mail(owner, mailoutbox, sends_mail):
    visitor = Client()
    assert own_look(visitor.get("/accounts/password_reset/"))
    for address in ("owner@example.com", "nobody@example.com"):
        page = visitor.post("/accounts/password_reset/", {"email": address}, follow=True)
        assert own_look(page)
        assert "If there is an account with this address" in page.content.decode()
    assert mailoutbox == []  # the request waits for no mail server
    send_mails()
    (mail,) = mailoutbox
    assert mail.subject == "New password for testserver"
    link = re.search(r"http://testserver(/accounts/reset/\S+)", mail.body)
    assert link
    form = visitor.get(link[1], follow=True)
    assert own_look(form)
    path = form.redirect_chain[-1][0]
    done = visitor.post(path, {"new_password1": NEW, "new_password2": NEW}, follow=True)
    assert "The password is set" in done.content.decode()
    assert "This link is no longer valid" in visitor.get(link[1], follow=True).content.decode()


def test_an_address_with_an_account_takes_the_same_work_as_one_without(owner, sends_mail):
    works = []
    for address in ("owner@example.com", "nobody@example.com"):
        with CaptureQueriesContext(connection) as queries:
            answer = ask(address)
        works.append((answer.status_code, answer["Location"], [query["sql"].split()[0] for query in queries]))
    assert works[0] == works[1]
    assert not any("auth_user" in query["sql"] for query in queries)


def test_the_outbox_holds_no_link(owner, sends_mail):
    ask("owner@example.com")
    mail = OutgoingMail.objects.get()
    assert (mail.to, mail.subject, mail.body, mail.user) == ("owner@example.com", "", "", None)


def test_accounts_that_cannot_log_in_get_no_link(sends_mail, mailoutbox):
    User.objects.create_user("inactive", "a@example.com", "secret", is_active=False)
    User.objects.create_user("unusable", "a@example.com")
    unconfirmed = User.objects.create_user("unconfirmed", "a@example.com", "secret", is_active=False)
    SignUp.objects.create(user=unconfirmed)
    ask("a@example.com")
    assert send_mails() == 1
    assert mailoutbox == []


def test_each_account_with_the_address_gets_a_link_at_the_address_that_the_account_has(sends_mail, mailoutbox):
    User.objects.create_user("one", "A@example.com", "secret")
    User.objects.create_user("two", "a@example.com", "secret")
    ask("a@EXAMPLE.com")
    send_mails()
    assert [(mail.to, re.findall("account (one|two)", mail.body)) for mail in mailoutbox] == [
        (["A@example.com"], ["one"]),
        (["a@example.com"], ["two"]),
    ]


@pytest.mark.parametrize(
    "address", ["", "no address", "a@b", f"{'a' * 250}@example.com", "a@example.com\nBcc: b@c.de"]
)
def test_what_is_no_address_is_refused_at_the_field(address, sends_mail):
    page = ask(address).content.decode()
    assert 'class="error"' in page
    assert not OutgoingMail.objects.exists()


def test_an_account_gets_three_mails_in_an_hour(sends_mail):
    with time_machine.travel("2026-03-02 12:00Z", tick=False) as clock:
        for number in range(3):
            assert ask("owner@example.com", f"192.0.2.{number}").status_code == 302
            clock.shift(timedelta(minutes=5))
        refused = ask("OWNER@example.com", "192.0.2.9")
        assert refused.status_code == 429
        assert refused["Retry-After"] == str(45 * 60)
        assert "Too many requests. Try again in 45 minutes." in refused.content.decode()
        assert 'value="OWNER@example.com"' in refused.content.decode()
        assert ask("other@example.com", "192.0.2.9").status_code == 302
        clock.shift(timedelta(minutes=46))
        assert ask("owner@example.com").status_code == 302
    assert OutgoingMail.objects.count() == 5


def test_a_client_and_all_clients_together_have_a_limit(sends_mail, monkeypatch):
    monkeypatch.setattr(throttle, "RESET_FORMS", throttle.RESET_FORMS._replace(most=2))
    monkeypatch.setattr(throttle, "RESETS", throttle.RESETS._replace(most=3))
    clients = [f"192.0.2.{number}" for number in (1, 1, 1, 2, 3)]
    answers = [ask(f"a{number}@example.com", client).status_code for number, client in enumerate(clients)]
    assert answers == [302, 302, 429, 302, 429]


def test_counted_requests_keep_no_address_and_go_after_an_hour(sends_mail):
    with time_machine.travel("2026-03-02 12:00Z"):
        ask("owner@example.com")
        assert {len(digest) for digest in Attempt.objects.values_list("digest", flat=True)} == {64}
        assert Attempt.objects.count() == 3
    with time_machine.travel("2026-03-02 13:01Z"):
        ask("other@example.com")
        assert Attempt.objects.count() == 3


def test_a_site_without_mail_says_so(owner):
    page = Client().get("/accounts/password_reset/").content.decode()
    assert "This site sends no mails. Ask an administrator for a new password." in page
    assert ask("owner@example.com").status_code == 200
    assert not OutgoingMail.objects.exists()


def test_links_lead_to_the_site_of_the_request(rf, settings):
    settings.ALLOWED_HOSTS = ["stocks.example"]
    assert site_of(rf.get("/", HTTP_HOST="stocks.example", secure=True)) == "https://stocks.example"
