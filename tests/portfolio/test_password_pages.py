"""Passwords are changed and reset on pages in the product's own look."""

import re

import pytest
from django.test import Client

pytestmark = pytest.mark.django_db

NEW = "a long new password 7"


@pytest.fixture
def owner(client, django_user_model) -> Client:
    user = django_user_model.objects.create_user("owner", "owner@example.com", "an old password 3")
    client.force_login(user)
    return client


def own_look(page) -> bool:
    return page.status_code == 200 and 'class="brand"' in page.content.decode()


def test_a_password_is_changed_from_the_header(owner):
    assert 'href="/accounts/password_change/"' in owner.get("/").content.decode()
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


def test_a_forgotten_password_is_reset_by_a_link_in_a_mail(owner, mailoutbox):
    visitor = Client()
    assert own_look(visitor.get("/accounts/password_reset/"))
    for address in ("owner@example.com", "nobody@example.com"):
        page = visitor.post("/accounts/password_reset/", {"email": address}, follow=True)
        assert own_look(page)
        assert "If there is an account with this address" in page.content.decode()
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
