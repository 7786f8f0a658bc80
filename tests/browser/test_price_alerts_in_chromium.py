"""Price alerts in a real browser: by the keyboard alone, accessible, on a desk and a phone."""

from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from market.models import Stock
from portfolio.models import PriceAlert
from portfolio.price_alerts.setting import set_alert
from tests.support.chromium import is_too_wide, violations
from tests.support.prices import store_closes

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def owner(user: User, hold) -> User:
    """A user with a raised alert on AAPL, and an armed one."""
    store_closes("AAPL", 100, 100)
    hold(user, "AAPL")
    Stock.objects.update(name="A company with a name that is rather long, Incorporated")
    set_alert(user, Stock.objects.get(), "above", Decimal("110.123456"))
    set_alert(user, Stock.objects.get(), "below", Decimal(50))
    store_closes("AAPL", 100, 112)
    return user


@pytest.mark.parametrize(("width", "dark"), [(1280, True), (360, False), (360, True)])
def test_pages_with_alerts_break_no_rule_of_accessibility(browse, owner, width, dark):
    alert = PriceAlert.objects.filter(user=owner).first()
    assert alert is not None
    for address in ("/", "/alerts/", "/stocks/AAPL/alerts/new/", f"/alerts/{alert.pk}/delete/"):
        page = browse(owner, address, width=width, dark=dark)
        assert violations(page) == [], address
        assert not is_too_wide(page), address
    page = browse(owner, "/stocks/AAPL/", width=width, dark=dark)
    assert violations(page, "#alerts") == []
    assert not is_too_wide(page)


def press_until_focused(page: Page, key: str, selector: str) -> None:
    """Press a key until the element has the focus."""
    for _ in range(60):
        page.keyboard.press(key)
        if page.locator(selector).evaluate("element => element === document.activeElement"):
            return
    raise AssertionError(f"{selector} is not reached by {key}")


def test_an_alert_is_set_refused_and_dismissed_by_the_keyboard(browse, owner):
    page = browse(owner, "/stocks/AAPL/", width=360)
    press_until_focused(page, "Tab", "#id_kind")
    page.keyboard.press("Tab")
    page.keyboard.type("90")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("AAPL is at $112.00 already")
    expect(page.locator("#id_threshold")).to_have_value("90")
    page.locator("#id_threshold").fill("150.5")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").first).to_contain_text("Alert set on AAPL: price at or above $150.50.")
    expect(page.locator("#alerts")).to_contain_text("price at or above $150.50")
    page.goto("/")
    expect(page.locator(".notices")).to_contain_text(
        "AAPL is at $112.000000 (+12.00 %): price at or above $110.123456."
    )
    press_until_focused(page, "Tab", ".notices li button")
    page.keyboard.press("Enter")
    expect(page.locator(".notices")).to_have_count(0)
