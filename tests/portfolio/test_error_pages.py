"""Errors have pages in the product's own look, which say what to do next."""

import pytest
from django.test import Client
from django.urls import path

from stockqueue import urls

pytestmark = pytest.mark.django_db


def broken(request):
    raise RuntimeError("secret detail")


urlpatterns = [*urls.urlpatterns, path("broken/", broken)]


@pytest.fixture
def visitor(user) -> Client:
    client = Client(enforce_csrf_checks=True, raise_request_exception=False)
    client.force_login(user)
    return client


@pytest.mark.parametrize("address", ["/nothing/", "/stocks/NOTHELD/chart/extra/"])
def test_an_unknown_page_leads_back_to_the_portfolio(address, visitor):
    page = visitor.get(address)
    assert page.status_code == 404
    assert "There is no such page" in page.content.decode()
    assert '<a href="/">To the portfolio</a>' in page.content.decode()


def test_a_form_without_its_token_says_that_nothing_was_changed(visitor):
    page = visitor.post("/refresh/")
    assert page.status_code == 403
    assert "Nothing was changed." in page.content.decode()


@pytest.mark.urls(__name__)
def test_an_error_of_the_server_shows_no_detail(visitor):
    page = visitor.get("/broken/")
    assert page.status_code == 500
    assert "Something went wrong" in page.content.decode()
    assert "secret detail" not in page.content.decode()
