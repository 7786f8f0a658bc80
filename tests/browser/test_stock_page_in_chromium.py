"""The page of one stock in a real browser: the chart is drawn, and fits a phone."""

from datetime import date, timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from market.analysis.technical.analyse import analyse
from market.models import PriceBar, Stock
from tests.conftest import WORKER
from tests.support.chromium import is_too_wide, violations
from tests.support.prices import LAST_SESSION, stored

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("dark", [False, True])
def test_the_chart_has_four_panes_and_fits_a_phone(browse, user, hold, dark):
    hold(user, "AAPL")
    stored("AAPL", 600)
    page = browse(user, "/stocks/AAPL/", width=360, dark=dark)
    expect(page.locator("#chart-state")).to_contain_text(f"504 days until {LAST_SESSION}")
    for title in ("Price", "Volume", "RSI", "MACD"):
        expect(page.locator("#chart").get_by_text(title, exact=True).first).to_be_visible()
    assert not is_too_wide(page)


def test_the_ranges_of_the_chart_work_by_keyboard_and_max_shows_all_stored_days(browse, user, hold):
    hold(user, "AAPL")
    stored("AAPL", 900)
    page = browse(user, "/stocks/AAPL/")
    state = page.locator("#chart-state")
    expect(state).to_contain_text("504 days until")
    expect(page.get_by_role("button", name="6M")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="1M").press("Enter")
    expect(page.get_by_role("button", name="1M")).to_have_attribute("aria-pressed", "true")
    first, last = page.evaluate("document.getElementById('chart').layout.xaxis.range.map((day) => Date.parse(day))")
    assert (last - first) / 86_400_000 <= 32
    page.get_by_role("button", name="Max").press("Enter")
    expect(state).to_contain_text("900 days until")
    assert violations(page) == []


def test_the_chart_of_a_new_stock_begins_at_its_first_price(browse, user, hold):
    hold(user, "AAPL")
    bars = stored("AAPL", 20).bars.order_by("date")
    page = browse(user, "/stocks/AAPL/")
    expect(page.locator("#chart-state")).to_contain_text("20 days until")
    first, last = page.evaluate("document.getElementById('chart').layout.xaxis.range")
    assert first == f"{bars[0].date - timedelta(days=1)} 12:00"
    assert last == f"{bars[19].date} 12:00"


def test_a_stock_without_prices_says_that_there_is_nothing_to_draw(browse, user, hold):
    hold(user, "NEWCO")
    page = browse(user, "/stocks/NEWCO/")
    expect(page.locator("#chart-state")).to_have_text("No prices yet.")
    expect(page.locator("#chart")).to_be_hidden()
    expect(page.get_by_role("button", name="1M")).to_be_hidden()


def newest_day() -> date:
    return PriceBar.objects.latest("date").date


def test_a_login_shows_prices_first_and_then_their_analysis_without_a_reload(
    browse, user, hold, yahoo, new_redis, point_to, start, configured
):
    environment = yahoo.server.environment | {
        "CELERY_BROKER_URL": new_redis.url,
        "STOCKQUEUE_CONFIG": str(configured(**{"stock_jobs.analysis.at_login": ["technical"]})),
    }
    point_to(new_redis.url)
    yahoo.serve("AAPL", days=600)
    old = stored("AAPL", 300, until=LAST_SESSION - timedelta(days=7))
    analysis = analyse(old)
    assert analysis is not None
    analysis.save()
    Stock.objects.update(checked_at=timezone.now() - timedelta(days=7))
    hold(user, "AAPL")
    yahoo.server.hold_back()
    with start(*WORKER, ready=" ready.", **environment):
        page = browse(user, "/stocks/AAPL/")
        page.evaluate("document.body.dataset.loaded = 'once'")
        price, technical = page.locator("#price"), page.locator("#technical")
        expect(price).to_contain_text("updating…")
        expect(technical).to_contain_text(f"until {old.bars.latest('date').date}")
        yahoo.server.release()
        expect(price).to_contain_text("fresh")
        expect(price).to_contain_text(f"close of {Stock.objects.get().bars.latest('date').date}")
        expect(technical).to_contain_text("analysing…")
        expect(technical).to_contain_text("prices have changed since")
    background = [word if word != "foreground" else "background_analysis" for word in WORKER]
    with start(*background, ready=" ready.", **environment):
        expect(technical).to_contain_text(f"until {Stock.objects.get().bars.latest('date').date}")
        expect(technical).not_to_contain_text("analysing…")
        expect(page.locator("#chart-state")).to_contain_text(f"until {Stock.objects.get().bars.latest('date').date}")
    assert page.evaluate("document.body.dataset.loaded") == "once"
