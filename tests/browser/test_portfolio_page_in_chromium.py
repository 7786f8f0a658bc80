"""The portfolio page: totals in the base currency, orders, the allocation and the value over time."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from market.models import PriceBar, Stock
from portfolio.models import Holding, Portfolio
from portfolio.views import ROWS_AT_ONCE
from tests.support.chromium import is_too_wide, violations

pytestmark = pytest.mark.django_db(transaction=True)

DAYS = 400


@pytest.fixture
def owner(user):
    """A user with stocks in three currencies, their rates, and a benchmark."""
    portfolio = Portfolio.objects.create(user=user, name="Main")
    for symbol, currency, close, shares in (
        ("AAPL", "USD", 230.0, 10),
        ("VOD.L", "GBp", 70.0, 900),
        ("SAP.DE", "EUR", 250.0, 3),
        ("^GSPC", "USD", 6_000.0, 0),
        ("GBP=X", "GBP", 0.8, 0),
        ("EUR=X", "EUR", 0.9, 0),
    ):
        stock = Stock.objects.create(symbol=symbol, currency=currency, name=f"{symbol} plc", checked_at=timezone.now())
        today = timezone.now().date()
        PriceBar.objects.bulk_create(
            PriceBar(stock=stock, date=today - timedelta(days=ago), close=close * (1 - 0.3 * ago / DAYS))
            for ago in range(DAYS)
        )
        if shares:
            Holding.objects.create(portfolio=portfolio, stock=stock, shares=shares, buy_price=Decimal("60.5"))
    return user


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (360, False), (360, True)])
def test_an_owner_sees_totals_allocation_and_the_value_over_time(browse, owner, width, dark):
    page = browse(owner, "/", width=width, dark=dark)
    page.get_by_text("Value over time").click()
    page.get_by_role("img", name="Value of today's holdings").wait_for()
    page.get_by_text("Allocation").click()
    assert page.get_by_role("row", name="GBP").is_visible()
    assert violations(page) == []
    assert not is_too_wide(page)
    with page.expect_response("**/history/?range=1m"):
        page.get_by_role("link", name="1M").press("Enter")
    page.locator("[aria-current]", has_text="1M").wait_for()


def test_a_click_on_a_heading_sorts_by_its_column(browse, owner):
    page = browse(owner, "/")
    page.get_by_role("link", name="Stock", exact=True).click()
    page.locator("th[aria-sort=ascending]").wait_for()
    assert page.locator("tbody .symbol").all_inner_texts() == ["AAPL", "SAP.DE", "VOD.L"]


def test_the_other_rows_of_a_large_portfolio_follow(browse, user, hold):
    hold(user, *(f"S{number:03}" for number in range(ROWS_AT_ONCE + 20)))
    page = browse(user, "/?sort=stock")
    page.get_by_role("link", name="S119", exact=True).wait_for()
    assert page.locator("tr[id^=holding-]").count() == ROWS_AT_ONCE + 20
    assert page.get_by_role("link", name="Show all").count() == 0
