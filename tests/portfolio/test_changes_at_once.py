"""Forms that a user's tabs send at the same moment: each finds what the one before has left, and none fails."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.test import Client

from portfolio.models import Holding, Portfolio, Preferences, PriceAlert

pytestmark = pytest.mark.django_db(transaction=True)

Form = tuple[str, dict[str, str]]
PREFERENCES = {"base_currency": "EUR", "time_zone": "UTC", "benchmark": "^GSPC"}


@pytest.fixture
def send(user) -> Callable[..., list[int]]:
    """send((address, fields), …): the status of each form, all sent in one session at the same moment."""
    session = Client()
    session.force_login(user)

    def send(*forms: Form) -> list[int]:
        gate = threading.Barrier(len(forms))

        def answer(form: Form) -> int:
            client = Client()
            client.cookies = session.cookies
            gate.wait()
            try:
                return client.post(*form).status_code
            finally:
                connections.close_all()

        with ThreadPoolExecutor(len(forms)) as threads:
            return sorted(threads.map(answer, forms))

    return send


def rounds(count: int = 5) -> Sequence[str]:
    """Names for several attempts: not every attempt meets the moment."""
    return [f"Round {number}" for number in range(count)]


def test_a_new_portfolio_that_is_sent_four_times_is_made_once(send):
    for name in rounds():
        assert send(*[("/portfolios/new/", {"name": name})] * 4) == [200, 200, 200, 302]
        assert Portfolio.objects.filter(name=name).count() == 1


def test_two_portfolios_do_not_take_the_same_name(send, user):
    for name in rounds():
        both = [Portfolio.objects.create(user=user, name=f"{name} {letter}") for letter in "AB"]
        assert send(*((f"/portfolios/{one.pk}/rename/", {"name": name}) for one in both)) == [200, 302]


def test_a_deleted_holding_does_not_come_back_by_an_edit(send, user, hold):
    for _ in rounds():
        hold(user, "AAPL")
        holding = Holding.objects.get()
        edited = (f"/holdings/{holding.pk}/", {"shares": "7", "buy_price": "1"})
        assert 404 in send(*[edited] * 2, *[(f"/holdings/{holding.pk}/delete/", {})] * 2)
        assert not Holding.objects.exists()


def test_a_deleted_portfolio_does_not_come_back_by_a_new_name(send, user):
    for name in rounds():
        portfolio = Portfolio.objects.create(user=user, name=name)
        renamed = (f"/portfolios/{portfolio.pk}/rename/", {"name": f"{name}, renamed"})
        added = (f"/portfolios/{portfolio.pk}/add/", {"symbol": "AAPL", "shares": "1"})
        assert max(send(renamed, added, (f"/portfolios/{portfolio.pk}/delete/", {}))) < 500
        assert not Portfolio.objects.exists()


def test_preferences_are_stored_once(send):
    assert send(*[("/accounts/preferences/", PREFERENCES)] * 4) == [302] * 4
    assert Preferences.objects.count() == 1


def test_an_account_goes_with_all_that_other_tabs_store_meanwhile(send, user, hold):
    hold(user, "AAPL")
    deleted = ("/accounts/delete/", {"password": "secret"})
    answers = send(
        *[deleted] * 2,
        ("/portfolios/new/", {"name": "Late"}),
        ("/stocks/AAPL/alerts/new/", {"kind": "moved", "threshold": "5"}),
        ("/accounts/preferences/", PREFERENCES),
        ("/refresh/", {}),
    )
    assert max(answers) < 500
    assert not User.objects.exists()
    assert not PriceAlert.objects.exists()
