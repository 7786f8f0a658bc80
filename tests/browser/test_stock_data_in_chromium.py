"""The page "Stock data" as an operator sees it: it changes by itself, can be paused, and fits a phone."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Locator, Page, expect

from market.jobs.requests import request_fetches
from market.models import Stock
from operations.monitoring import alerts
from tasks.models import Job
from tests.support.chromium import is_too_wide
from tests.support.jobs import new_job

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = "/admin/operations/stockdata/"


def card(page: Page, title: str) -> Locator:
    return page.locator("section", has=page.get_by_role("heading", name=title, exact=True))


def has_bar(page: Page, queue: str, row: str) -> None:
    """Wait until a queue's card has this row: priority, pending, queued, running."""
    expect(card(page, queue).get_by_role("row", name=row, exact=True)).to_be_visible()


def test_the_page_changes_by_itself_while_a_job_waits_runs_and_ends(browse, admin_user, yahoo, broker, worker):
    yahoo.serve("AAPL")
    yahoo.server.hold_back()
    page = browse(admin_user, PAGE)
    has_bar(page, "foreground", "3 0 0 0")
    request_fetches([Stock.objects.create(symbol="AAPL")], Job.Trigger.USER_REQUEST)
    has_bar(page, "foreground", "3 0 0 1")
    yahoo.server.release()
    has_bar(page, "foreground", "3 0 0 0")
    ended = card(page, "foreground").locator("div", has_text="Ended in the last 5 minutes")
    expect(ended.get_by_role("link", name="1", exact=True)).to_be_visible()


def test_a_paused_page_stays_as_it_is_until_it_may_go_on(browse, admin_user):
    page = browse(admin_user, PAGE)
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("[data-live-state]")).to_have_text("Paused.")
    before = page.locator("[data-live] time").first.inner_text()
    with pytest.raises(Exception, match="Timeout"), page.expect_response("**/figures/", timeout=6000):
        pass  # longer than between two looks
    assert page.locator("[data-live] time").first.inner_text() == before
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("[data-live] time").first).not_to_have_text(before)


@pytest.mark.parametrize("dark", [False, True])
def test_the_page_fits_a_phone_in_light_and_in_dark(browse, admin_user, dark):
    page = browse(admin_user, PAGE, width=360, dark=dark)
    expect(card(page, "Open alerts: 0")).to_be_visible()
    assert not is_too_wide(page)
    red, green, blue = map(
        int, re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor"))[:3]
    )
    assert (red + green + blue < 3 * 128) == dark


def ask_again(page: Page) -> None:
    """Have the page ask for everything at once, as after a pause."""
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Resume").click()


def test_the_charts_change_by_themselves_and_keep_to_the_period_of_the_address(browse, admin_user):
    page = browse(admin_user, PAGE)
    page.get_by_role("link", name="Day", exact=True).click()
    expect(page).to_have_url(re.compile(r"\?charts=day#sd-charts$"))
    expect(page.get_by_text("No data yet.")).to_be_visible()
    new_job("AAPL")
    alerts.check()
    with page.expect_response("**/charts/?charts=day"):
        ask_again(page)
    expect(page.get_by_role("heading", name="The last day")).to_be_visible()
    waiting = page.get_by_role("figure", name="Waiting jobs")
    expect(waiting.get_by_role("img", name="Waiting jobs")).to_be_visible()
    expect(waiting.get_by_role("link", name="1", exact=True)).to_be_visible()


def test_a_table_of_values_that_is_open_stays_so_and_its_charts_stand_still(browse, admin_user):
    page = browse(admin_user, PAGE)
    waiting = page.get_by_role("figure", name="Waiting jobs")
    waiting.get_by_text("Values", exact=True).click()
    expect(waiting.get_by_role("table")).to_be_visible()
    with page.expect_response("**/figures/"):
        ask_again(page)
    new_job("AAPL")
    alerts.check()
    expect(waiting.get_by_role("table")).to_be_visible()
    waiting.get_by_text("Values", exact=True).click()
    with page.expect_response("**/charts/?charts=hour"):
        ask_again(page)
    expect(waiting.get_by_role("link", name="1", exact=True)).to_be_visible()


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("period", ["hour", "week"])
def test_charts_fit_a_phone_with_their_tables_and_can_be_read_there(browse, admin_user, period, dark):
    new_job("AAPL", created_at=timezone.now() - timedelta(hours=3))
    alerts.check()
    page = browse(admin_user, f"{PAGE}?charts={period}", width=360, dark=dark)
    for summary in page.get_by_text("Values", exact=True).all():
        summary.click()
    assert not is_too_wide(page)
    label = page.locator(".sd-chart svg[role=img] text").first
    drawn = label.evaluate("text => text.getScreenCTM().a * parseFloat(getComputedStyle(text).fontSize)")
    assert drawn > 9.5  # pixels
