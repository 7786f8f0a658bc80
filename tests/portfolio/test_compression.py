"""Pages are compressed, and static files are left as they are. `test_live.py` has the streams."""

import gzip

import pytest
from django.test import Client

from tests.support.prices import stored

ZIPPED = {"Accept-Encoding": "gzip"}


@pytest.fixture
def owner(client, user, hold) -> Client:
    hold(user, "AAPL", "MSFT")
    client.force_login(user)
    return client


@pytest.mark.django_db
@pytest.mark.parametrize("address", ["/", "/holdings/", "/alerts/", "/stocks/AAPL/", "/accounts/preferences/"])
def test_pages_are_compressed_for_clients_that_understand_it(owner, address):
    page = owner.get(address, headers=ZIPPED)
    assert page.headers["Content-Encoding"] == "gzip"
    assert "Accept-Encoding" in page.headers["Vary"]
    assert b"</" in gzip.decompress(page.content)
    assert "Content-Encoding" not in owner.get(address).headers


@pytest.mark.django_db
def test_the_data_of_a_chart_is_compressed(owner):
    stored("AAPL")
    assert owner.get("/stocks/AAPL/chart/", headers=ZIPPED).headers["Content-Encoding"] == "gzip"


@pytest.mark.django_db
def test_two_answers_with_the_same_content_have_different_lengths(owner):
    """Otherwise an attacker who reads the length of answers could guess their secrets (BREACH)."""
    lengths = {len(owner.get("/holdings/", headers=ZIPPED).content) for _ in range(20)}
    assert len(lengths) > 1


@pytest.mark.django_db
def test_static_files_are_left_to_whitenoise(client):
    assert "Content-Encoding" not in client.get("/static/portfolio/style.css", headers=ZIPPED).headers
