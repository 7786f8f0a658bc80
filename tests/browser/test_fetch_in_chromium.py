"""The page "Fetch" and the progress of what it asked for, as an operator sees them."""

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from playwright.sync_api import Locator, Page, expect

from market.jobs.requests import request_fetches
from market.models import PriceBar, Stock
from tasks.enqueue import EnqueueResult
from tasks.groups import group_jobs
from tasks.models import Job, JobGroup
from tests.conftest import WORKER, Start, Yahoo
from tests.support.chromium import Browse, is_too_wide
from tests.support.jobs import new_job
from tests.support.servers import RedisServer

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = "/admin/operations/fetch/"
OVER = "All jobs have ended; the page is no longer refreshed."


@pytest.fixture
def background_worker(broker: RedisServer, yahoo: Yahoo, start: Start) -> Iterator[None]:
    """A worker of backfills."""
    words = [*WORKER[:6], "background_fetch", *WORKER[7:]]
    with start(*words, ready=" ready.", CELERY_BROKER_URL=broker.url, **yahoo.server.environment):
        yield


def form(page: Page, heading: str) -> Locator:
    return page.get_by_role("form", name=heading)


def row(page: Page, symbol: str) -> Locator:
    return page.get_by_role("row").filter(has=page.get_by_role("rowheader", name=symbol, exact=True))


def ended(page: Page) -> Locator:
    return page.locator("#pp-ended")


def open_group(browse: Browse, user: User, *jobs: Job, **options: object) -> Page:
    """The progress of what `user` asked for, with these jobs."""
    group = group_jobs("Fetch of some", EnqueueResult(list(jobs)), user)
    return browse(user, f"/admin/tasks/jobgroup/{group.pk}/change/", **options)


def test_one_symbol_goes_from_the_form_to_completed_and_updated(browse, admin_user, yahoo, broker, worker):
    yahoo.serve("AAPL", days=20)
    yahoo.server.hold_back()
    page = browse(admin_user, "/admin/")
    page.get_by_role("link", name="Fetch", exact=True).first.click()
    symbol = form(page, "Fetch a symbol now").get_by_label("Symbol")
    symbol.fill("S P?")
    symbol.press("Enter")
    expect(form(page, "Fetch a symbol now")).to_contain_text("'S P?' is not a symbol")
    symbol.fill("aapl")
    symbol.press("Enter")
    expect(page.get_by_text("Queued AAPL.")).to_be_visible()
    expect(ended(page)).to_have_text("0 of 1 ended")
    expect(row(page, "AAPL")).to_contain_text("running")
    yahoo.server.release()
    expect(ended(page)).to_have_text("1 of 1 ended")
    expect(row(page, "AAPL")).to_contain_text(re.compile("completed.*updated: 20 of 20 bars stored"))
    expect(page.locator("[data-live-state]")).to_have_text(OVER)
    expect(page.get_by_role("button", name="Pause")).to_be_hidden()
    row(page, "AAPL").get_by_role("link").click()
    expect(page).to_have_url(re.compile(str(Job.objects.get().pk)))


def test_a_backfill_shows_what_it_costs_and_is_followed_to_its_end(browse, admin_user, yahoo, background_worker):
    yahoo.serve("AAPL", "MSFT", days=250)
    Stock.objects.create(symbol="AAPL")
    page = browse(admin_user, PAGE)
    backfill = form(page, "Backfill past days")
    backfill.get_by_label("Symbols").fill("AAPL MSFT")
    backfill.get_by_label("First day").fill(str(timezone.now().date() - timedelta(days=30)))
    backfill.get_by_role("combobox", name="Fetch").select_option("gaps")
    backfill.get_by_role("button", name="Preview the cost").click()
    expect(backfill.get_by_role("status")).to_contain_text("2 requests: less than a minute")
    expect(backfill).to_be_in_viewport()
    assert not Job.objects.exists()
    backfill.get_by_role("button", name="Queue it").click()
    expect(page.get_by_text("Queued AAPL, MSFT.")).to_be_visible()
    expect(ended(page)).to_have_text("2 of 2 ended")
    for symbol in ("AAPL", "MSFT"):
        expect(row(page, symbol)).to_contain_text(re.compile("completed.*updated: .* bars stored"))
    assert PriceBar.objects.filter(stock__symbol="MSFT").exists()
    page.reload()
    assert (Job.objects.count(), JobGroup.objects.count()) == (2, 1)


def test_a_portfolio_is_found_by_its_users_name(browse, admin_user, user, hold, django_user_model):
    hold(user, "AAPL", "MSFT")
    hold(django_user_model.objects.create_user("somebody"), "GOOG")
    page = browse(admin_user, PAGE)
    portfolio = form(page, "Fetch a portfolio now")
    portfolio.get_by_role("combobox").first.click()
    page.get_by_role("searchbox").fill(user.username)
    page.get_by_role("option", name=f"Main of {user}").click()
    portfolio.get_by_role("button", name="Fetch all of it").click()
    expect(page.get_by_role("heading", name=f"Fetch of Main of {user}")).to_be_visible()
    expect(ended(page)).to_have_text("0 of 2 ended")
    assert set(Job.objects.values_list("symbol", flat=True)) == {"AAPL", "MSFT"}


def test_the_page_asks_nothing_while_its_tab_is_hidden_and_at_once_when_it_is_seen(browse, admin_user):
    job = new_job("AAPL")
    page = open_group(browse, admin_user, job)
    hide = "(hidden) => Object.defineProperty(document, 'hidden', {value: hidden, configurable: true})"
    page.evaluate(hide, True)
    page.wait_for_load_state("networkidle")
    with pytest.raises(Exception, match="Timeout"), page.expect_response("**/figures/", timeout=5000):
        pass  # longer than between two looks
    page.evaluate(hide, False)
    with page.expect_response("**/figures/"):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


@pytest.mark.parametrize("dark", [False, True])
def test_the_forms_fit_a_phone_in_light_and_in_dark(browse, admin_user, user, hold, dark):
    hold(user, "AAPL")
    page = browse(admin_user, PAGE, width=360, dark=dark)
    backfill = form(page, "Backfill past days")
    backfill.get_by_label("Symbols").fill("AAPL " + "X" * 33)
    backfill.get_by_role("button", name="Preview the cost").click()
    expect(backfill).to_contain_text("is 33 characters long")
    assert not is_too_wide(page)
    assert is_dark(page) == dark


@pytest.mark.parametrize("dark", [False, True])
def test_the_progress_of_many_jobs_fits_a_phone_in_light_and_in_dark(browse, admin_user, dark):
    stocks = Stock.objects.bulk_create(Stock(symbol=f"A-RATHER-LONG-SYMBOL-{number}.XY") for number in range(60))
    jobs = request_fetches(stocks, Job.Trigger.USER_REQUEST).created
    ids = [job.pk for job in jobs]
    moment = timezone.now()
    Job.objects.filter(pk__in=ids[:5]).update(
        status="failed",
        error=f"Yahoo Finance answered 503 for https://example.org/{'x' * 200}",
        queued_at=moment - timedelta(hours=30),
        started_at=moment - timedelta(minutes=200),
        finished_at=moment,
    )
    page = open_group(browse, admin_user, *jobs, width=360, dark=dark)
    expect(ended(page)).to_have_text("5 of 60 ended")
    assert not is_too_wide(page)
    assert is_dark(page) == dark


def is_dark(page: Page) -> bool:
    colour = re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor"))
    return sum(map(int, colour[:3])) < 3 * 128
