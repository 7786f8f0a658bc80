"""An owner reads the note about a split and undoes it with the keyboard, on a desk and a phone."""

from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from market import splits
from market.models import Stock, StockSplit
from portfolio.models import Holding
from tests.support.chromium import is_too_wide, violations

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def split(user, hold) -> None:
    """A split of a stock that the user holds."""
    (stock,) = hold(user, "AAPL")
    now = timezone.now()
    Stock.objects.update(exchange="CCC", currency="USD", checked_at=now)
    Holding.objects.update(as_of=now - timedelta(days=9), buy_price=400)
    StockSplit.objects.create(stock=stock, date=now.date() - timedelta(days=2), numerator=4, denominator=1)
    splits.follow_splits()
    assert Holding.objects.get().shares == 40


@pytest.mark.parametrize(("width", "dark"), [(1280, True), (360, False)])
@pytest.mark.parametrize("address", ["/", "/stocks/AAPL/"])
def test_a_split_is_told_and_undone_by_the_keyboard(browse, user, split, address, width, dark):
    page = browse(user, address, width=width, dark=dark)
    note = page.get_by_role("region", name="Splits of your stocks")
    expect(note).to_contain_text("Your 10 shares at $400.00 in Main became 40 shares at $100.00.")
    assert violations(page) == []
    assert not is_too_wide(page)
    undo = page.get_by_role("button", name="Undo the split of AAPL")
    undo.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").first).to_contain_text("Undone: you hold 10 AAPL again")
    expect(note).to_have_count(0)
    assert page.url.endswith(address)
    assert Holding.objects.get().shares == 10
    assert violations(page) == []


def test_a_note_is_dismissed(browse, user, split):
    page = browse(user, "/", width=360, dark=True)
    page.get_by_role("button", name="Dismiss the note about AAPL").click()
    expect(page.get_by_role("region", name="Splits of your stocks")).to_have_count(0)
    assert Holding.objects.get().shares == 40
