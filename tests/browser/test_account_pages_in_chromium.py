"""The pages of an account are accessible, on a desk and a phone, in the light and the dark, and work by keyboard."""

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect

from portfolio.accounts.links import address_token, sign_up_token
from portfolio.models import SignUp
from tests.support.chromium import is_too_wide, violations

pytestmark = pytest.mark.django_db(transaction=True)

LOOKS = [(1280, False), (1280, True), (360, False), (360, True)]


@pytest.fixture
def is_open(configure, settings) -> None:
    configure(**{"portfolio.sign_up": "open"})
    settings.SENDS_MAIL = True


def forget_the_login(page) -> None:
    page.context.clear_cookies()


@pytest.mark.parametrize(("width", "dark"), LOOKS)
def test_pages_before_the_login_break_no_rule_of_accessibility(browse, user, is_open, width, dark):
    pending = User.objects.create_user("pending", "pending@example.com", is_active=False)
    SignUp.objects.create(user=pending)
    page = browse(user, "/", width=width, dark=dark)
    forget_the_login(page)
    confirm = f"sign_up/confirm/{sign_up_token(pending)}/"
    for address in ("login/", "password_reset/", "sign_up/", "sign_up/sent/", confirm, "sign_up/confirm/x/"):
        page.goto(f"/accounts/{address}")
        assert violations(page) == [], address
        assert not is_too_wide(page), address


@pytest.mark.parametrize(("width", "dark"), LOOKS)
def test_pages_of_an_account_break_no_rule_of_accessibility(browse, user, hold, width, dark):
    hold(user, "AAPL")
    user.username, user.email, user.is_staff = "n" * 150, f"{'a' * 60}@example.com", True
    user.save()
    page = browse(user, "/accounts/preferences/", width=width, dark=dark)
    confirm = f"address/confirm/{address_token(user, 'new@example.com')}/"
    for address in ("preferences/", "address/", "delete/", confirm, "address/confirm/x/"):
        page.goto(f"/accounts/{address}")
        assert violations(page) == [], address
        assert not is_too_wide(page), address


def test_a_visitor_signs_up_by_keyboard_alone(browse, user, configure):
    configure(**{"portfolio.sign_up": "open"})
    page = browse(user, "/", width=360)
    forget_the_login(page)
    page.goto("/accounts/sign_up/")
    for word in ("anna", "anna@example.com", "a long new password 7", "another password"):
        page.keyboard.type(word)
        page.keyboard.press("Tab")
    page.keyboard.press("Tab")  # past the way to the login
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("The two password fields")
    assert violations(page) == []
    page.get_by_label("Password", exact=False).first.fill("a long new password 7")
    page.get_by_label("Password confirmation", exact=False).fill("a long new password 7")
    page.keyboard.press("Enter")
    expect(page.locator(".message")).to_have_text("Welcome, anna.")
    expect(page.get_by_role("heading", name="You have no portfolio yet")).to_be_visible()
    assert violations(page) == []


def test_preferences_are_chosen_and_kept(browse, user):
    page = browse(user, "/accounts/preferences/")
    page.get_by_label("Currency of totals").select_option("EUR")
    page.get_by_label("Time zone").select_option("Europe/Berlin")
    page.get_by_label("Mail me").uncheck()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_have_text("Your preferences were saved.")
    expect(page.get_by_label("Time zone")).to_have_value("Europe/Berlin")
    expect(page.get_by_label("Mail me")).not_to_be_checked()
