"""The owner's forms and error pages are accessible, on a desk and a phone, in the light and the dark."""

import pytest

from tests.support.chromium import is_too_wide, violations

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(("width", "dark"), [(1280, True), (360, False)])
@pytest.mark.parametrize("address", ["/", "/portfolios/import/", "/accounts/password_change/", "/portfolios/new/"])
def test_a_page_of_an_owner_breaks_no_rule_of_accessibility(browse, user, hold, address, width, dark):
    hold(user, "AAPL")
    page = browse(user, address, width=width, dark=dark)
    assert violations(page) == []
    assert not is_too_wide(page)


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (360, True)])
@pytest.mark.parametrize("address", ["/accounts/login/", "/accounts/password_reset/"])
def test_a_page_before_the_login_breaks_no_rule_of_accessibility(browse, user, address, width, dark):
    page = browse(user, "/", width=width, dark=dark)
    page.context.clear_cookies()
    page.goto(address)
    assert violations(page) == []
    assert not is_too_wide(page)
