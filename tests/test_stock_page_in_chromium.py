"""The page of one stock in a real browser: the chart is drawn, and fits a phone."""

import pytest
from playwright.sync_api import expect

from tests.chromium import is_too_wide
from tests.prices import YESTERDAY, stored

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("dark", [False, True])
def test_the_chart_has_four_panes_and_fits_a_phone(browse, user, hold, dark):
    hold(user, "AAPL")
    stored("AAPL", 600)
    page = browse(user, "/stocks/AAPL/", width=360, dark=dark)
    expect(page.locator("#chart-state")).to_contain_text(f"504 days until {YESTERDAY}")
    for title in ("Price", "Volume", "RSI", "MACD"):
        expect(page.locator("#chart").get_by_text(title, exact=True).first).to_be_visible()
    assert not is_too_wide(page)


def test_a_stock_without_prices_says_that_there_is_nothing_to_draw(browse, user, hold):
    hold(user, "NEWCO")
    page = browse(user, "/stocks/NEWCO/")
    expect(page.locator("#chart-state")).to_have_text("There are no prices to draw yet.")
