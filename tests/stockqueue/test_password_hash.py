"""How passwords are stored, and what becomes of the hashes of earlier versions."""

import pytest
from django.contrib.auth.hashers import make_password

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_hashes")]


def test_a_password_is_stored_as_argon2id(user):
    user.set_password("secret")
    assert user.password.startswith("argon2$argon2id$v=19$m=47104,t=1,p=1$")


def test_a_login_with_the_hash_of_an_earlier_version_works_and_replaces_it(user, client):
    user.password = make_password("secret", hasher="pbkdf2_sha256")
    user.save()
    assert not client.login(username=user.username, password="wrong")
    assert client.login(username=user.username, password="secret")
    user.refresh_from_db()
    assert user.password.startswith("argon2$")
    client.logout()
    assert client.login(username=user.username, password="secret")
