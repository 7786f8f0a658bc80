"""The symbol field of "Add a stock" in a real browser: a combobox, by keyboard alone, on a desk and a phone."""

import pytest
from playwright.sync_api import expect

from market import symbol_search
from market.models import Stock
from portfolio.models import Holding, Portfolio
from stockqueue import cache
from stockqueue.cache import Kind
from tests.support.chromium import is_too_wide, violations

pytestmark = pytest.mark.django_db(transaction=True)

LISTED = [
    ["SAP.DE", "SAP SE", "GER", "XETRA", "Equity"],
    ["SAP", "SAP SE with a long name" * 4, "NYQ", "NYSE", "Equity"],
]


@pytest.fixture
def portfolio(user) -> Portfolio:
    return Portfolio.objects.create(user=user, name="Main")


@pytest.fixture
def slow_source(monkeypatch):
    """slow_source("sap"): the source's answer arrives now; pages ask again until then."""
    monkeypatch.setattr(symbol_search, "_hand_over", lambda query: True)
    return lambda query: cache.put(Kind.SEARCH, [query], {"matches": LISTED, "problem": ""})


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (360, True)])
def test_a_stock_is_found_and_added_by_keyboard(browse, user, portfolio, slow_source, width, dark):
    other = Portfolio.objects.create(user=user, name="Other")
    other.holdings.create(stock=Stock.objects.create(symbol="SAPX", name="Sapphire"), shares=1)
    page = browse(user, f"/portfolios/{portfolio.pk}/add/", width=width, dark=dark)
    field = page.get_by_role("combobox", name="Symbol")
    field.focus()
    page.keyboard.type("sap")
    state = page.locator("#matches-state")
    expect(state).to_have_text("1 match so far; searching at Yahoo…")
    expect(field).to_have_attribute("aria-expanded", "true")
    assert violations(page) == []
    slow_source("sap")
    expect(page.get_by_role("option")).to_have_count(3)
    expect(state).to_have_text("3 matches.")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    marked = page.get_by_role("option", selected=True)
    expect(marked).to_contain_text("SAP.DE SAP SE XETRA, EUR, Equity")
    assert field.get_attribute("aria-activedescendant") == marked.get_attribute("id")
    assert violations(page) == []
    assert not is_too_wide(page)
    page.keyboard.press("Enter")
    expect(field).to_have_value("SAP.DE")
    expect(field).to_be_focused()
    expect(page.get_by_role("option")).to_have_count(0)
    expect(state).to_have_text("SAP.DE chosen.")
    assert violations(page) == []
    page.get_by_label("Shares").focus()
    page.keyboard.type("2")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").first).to_have_text("Added 2 SAP.DE.")
    assert Holding.objects.filter(portfolio=portfolio, stock__symbol="SAP.DE").exists()


def test_escape_closes_the_list_and_a_click_chooses(browse, user, portfolio, slow_source):
    slow_source("sap")
    page = browse(user, f"/portfolios/{portfolio.pk}/add/")
    field = page.get_by_role("combobox", name="Symbol")
    field.press_sequentially("sap")
    expect(page.get_by_role("option")).to_have_count(2)
    field.press("ArrowUp")
    expect(page.get_by_role("option", selected=True)).to_contain_text("NYSE")
    field.press("Escape")
    expect(page.get_by_role("option")).to_have_count(0)
    expect(field).to_have_attribute("aria-expanded", "false")
    expect(field).to_have_value("sap")
    field.fill("")
    field.press_sequentially("sap")
    page.get_by_role("option").first.click()
    expect(field).to_have_value("SAP.DE")


def test_an_isin_offers_its_symbols_after_the_error(browse, user, portfolio, slow_source):
    slow_source("de0007164600")
    page = browse(user, f"/portfolios/{portfolio.pk}/add/", width=360)
    page.get_by_role("combobox", name="Symbol").fill("DE0007164600")
    page.get_by_label("Shares").fill("2")
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_role("alert")).to_contain_text("is an ISIN")
    expect(page.get_by_role("option")).to_have_count(2)
    field = page.get_by_role("combobox", name="Symbol")
    field.press("ArrowDown")
    field.press("Enter")
    expect(field).to_have_value("SAP.DE")
    assert violations(page) == []
    assert not is_too_wide(page)


def test_the_search_page_breaks_no_rule_of_accessibility(browse, user, portfolio, slow_source):
    slow_source("sap")
    page = browse(user, "/search/?q=sap", width=360, dark=True)
    expect(page.get_by_role("link", name="SAP.DE")).to_be_visible()
    assert violations(page) == []
    assert not is_too_wide(page)
