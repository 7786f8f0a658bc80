"""An owner imports a file in a real browser: on a desk and a phone, in the light and the dark, by keyboard alone."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from market import symbol_search
from stockqueue import cache
from stockqueue.cache import Kind
from tests.support.chromium import is_too_wide, violations
from tests.support.import_page import shares

pytestmark = pytest.mark.django_db(transaction=True)

BROKERS = Path(__file__).parents[1] / "portfolio" / "files" / "brokers"


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (360, True)])
def test_a_file_with_isins_is_imported_by_keyboard(browse, user, width, dark):
    page = browse(user, "/", width=width, dark=dark)
    page.get_by_role("link", name="Import a file", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Import a file")).to_be_visible()
    assert violations(page) == []
    page.get_by_label("File").set_input_files(BROKERS / "degiro-portfolio.csv")
    page.get_by_role("button", name="Preview the changes").focus()
    page.keyboard.press("Enter")
    symbol = page.get_by_label("US6536561086, ALPHA LTD (line 3)")
    expect(symbol).to_be_visible()
    assert violations(page) == []
    assert not is_too_wide(page)
    symbol.focus()
    page.keyboard.type("nice")
    page.keyboard.press("Enter")
    expect(page.get_by_text("line 3: NICE, 13 at an unknown buy price")).to_be_visible()
    assert violations(page) == []
    assert not is_too_wide(page)
    page.get_by_role("button", name="Import").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".message")).to_have_text("Imported degiro-portfolio.csv: 1 added; 0 unchanged; 2 notes.")
    assert shares(user) == {"NICE": "13"}
    assert violations(page) == []
    assert not is_too_wide(page)


@pytest.mark.parametrize(("width", "dark"), [(1280, True), (360, False)])
def test_unknown_columns_are_assigned(browse, user, tmp_path, width, dark):
    file = tmp_path / "mine.csv"
    file.write_text("代码,数量,成本\nAAPL,10,150\n", encoding="utf-8")
    page = browse(user, "/portfolios/import/", width=width, dark=dark)
    page.get_by_label("File").set_input_files(file)
    page.get_by_role("button", name="Preview the changes").click()
    page.get_by_label("代码").select_option("symbol")
    page.get_by_label("数量").select_option("shares")
    assert violations(page) == []
    assert not is_too_wide(page)
    page.get_by_role("button", name="Preview the changes").click()
    expect(page.get_by_text("line 2: AAPL, 10 at an unknown buy price")).to_be_visible()


@pytest.mark.parametrize(("width", "dark"), [(1280, True), (360, False)])
def test_a_found_symbol_is_chosen_by_keyboard(browse, user, monkeypatch, width, dark):
    monkeypatch.setattr(symbol_search, "_hand_over", lambda query: True)
    page = browse(user, "/portfolios/import/", width=width, dark=dark)
    page.get_by_label("File").set_input_files(BROKERS / "degiro-portfolio.csv")
    page.get_by_role("button", name="Preview the changes").click()
    expect(page.get_by_text("Searching at Yahoo")).to_be_visible()
    page.get_by_label("US6536561086, ALPHA LTD (line 3)").fill("")
    listed = [["NICE", "NICE Ltd.", "NMS", "NASDAQ", "Equity"], ["NICE.TA", "NICE Ltd.", "TLV", "Tel Aviv", "Equity"]]
    cache.put(Kind.SEARCH, ["us6536561086"], {"matches": listed, "problem": ""})
    found = page.get_by_role("group", name="Found for US6536561086")
    choice = found.get_by_role("radio", name="NICE NICE Ltd.")
    expect(choice).to_be_visible()
    assert violations(page) == []
    assert not is_too_wide(page)
    found.get_by_role("radio", name="None of these").focus()
    page.keyboard.press("ArrowDown")
    expect(choice).to_be_checked()
    page.keyboard.press("Enter")
    expect(page.get_by_text("line 3: NICE, 13 at an unknown buy price")).to_be_visible()
