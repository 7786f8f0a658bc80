"""The list of jobs as an operator sees it: on a phone, in the dark, and with everything chosen that matches."""

import pytest
from playwright.sync_api import expect

from console.kit.keyset import KeysetList
from tasks.models import Job
from tests.support.chromium import is_too_wide
from tests.support.jobs import ended_jobs

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "/admin/tasks/job/"


@pytest.fixture
def failed_jobs(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """More than a page of them, and others."""
    monkeypatch.setattr(KeysetList, "list_per_page", 3)
    ended_jobs(2)
    return ended_jobs(7, status="failed", error="Yahoo Finance sent no JSON " + 40 * "x")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize(
    "address", [LIST, f"{LIST}?q=nothing", f"{LIST}?finished_at__gte=2000-01-01T00:00:00%2B00:00"]
)
def test_the_list_fits_a_phone(browse, admin_user, failed_jobs, dark, address):
    page = browse(admin_user, address, width=360, dark=dark)
    expect(page.get_by_role("link", name="All jobs" if "?" in address else "Older →")).to_be_visible()
    assert not is_too_wide(page)


def test_a_phone_shows_a_card_for_each_job_without_what_it_does_not_have(browse, admin_user, failed_jobs):
    page = browse(admin_user, LIST, width=360)
    card = page.locator("tr.data-row").first
    expect(card.locator("[data-label='Error']")).to_be_visible()
    expect(card.locator("[data-label='Priority']")).to_have_text("normal 5")
    expect(card.locator("[data-label='Outcome']")).to_be_hidden()


def test_links_lead_to_older_and_newer_jobs(browse, admin_user, failed_jobs):
    page = browse(admin_user, f"{LIST}?status__exact=failed")
    symbols = page.locator("[data-label='Symbol']")
    expect(symbols).to_have_text([job.symbol for job in failed_jobs[:3:-1]])
    page.get_by_role("link", name="Older →").click()
    expect(symbols).to_have_text([job.symbol for job in failed_jobs[3:0:-1]])
    page.get_by_role("link", name="← Newer").focus()
    page.keyboard.press("Enter")
    expect(symbols).to_have_text([job.symbol for job in failed_jobs[:3:-1]])


def test_everything_that_matches_can_be_chosen_on_other_pages_too(browse, admin_user, failed_jobs):
    page = browse(admin_user, f"{LIST}?status__exact=failed")
    page.locator("#action-toggle").check()
    page.get_by_role("link", name="Select all matching jobs").click()
    expect(page.get_by_text("All matching selected")).to_be_visible()
    expect(page.locator("input.select-across").first).to_have_value("1")
