"""Pages of owners keep themselves up to date: real Chromium, the shipped web server, its stream and its fallback."""

import re
from contextlib import ExitStack
from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.utils import timezone
from playwright.sync_api import expect

from market.jobs.requests import request_fetches
from market.models import Stock
from operations.local.child_processes import free_port
from portfolio.models import Holding
from tasks.models import Job
from tests.support.chromium import is_too_wide, violations
from tests.support.jobs import run_once
from tests.support.live_stream import WEB_SERVER
from tests.support.prices import stored

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]

INTERRUPTED = "Live updates are interrupted; reconnecting…"


class WebServer:
    """The shipped web server, at the same address after a restart."""

    def __init__(self, start) -> None:
        self._start = start
        self._address = f"127.0.0.1:{free_port()}"
        self._running = ExitStack()
        self.url = f"http://{self._address}"

    def start(self) -> None:
        self._running.enter_context(self._start(*WEB_SERVER, self._address, ready="listening on"))

    def stop(self) -> None:
        self._running.close()


@pytest.fixture
def web_server(transactional_db, start):
    """In place of Django's server for tests, which has a thread for each connection and no streams."""
    server = WebServer(start)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def owner(user, hold, yahoo):
    """A user with two stocks, each with prices."""
    yahoo.serve("AAPL", "MSFT")
    hold(user, "AAPL", "MSFT")
    for symbol in ("AAPL", "MSFT"):
        stored(symbol, 10)
    past = timezone.now() - timedelta(minutes=5)
    Stock.objects.update(currency="USD", checked_at=past, bars_changed_at=past)
    return user


@pytest.fixture
def visit(browse, owner):
    """visit("/"): a page of the owner, after all fetches of the login have ended."""

    def visit(path="/", **options):
        page = browse(owner, path, **options)
        Job.objects.all().delete()
        page.reload()
        page.wait_for_function("document.getElementById('live') !== null")
        page.evaluate("document.body.dataset.loaded = 'once'")
        return page

    return visit


def fetch(symbol: str) -> None:
    """A fetch as a schedule makes it, which ends in this process."""
    stock = Stock.objects.get(symbol=symbol)
    stock.bars.all().delete()
    Stock.objects.filter(pk=stock.pk).update(checked_at=None)
    run_once(request_fetches([stock], Job.Trigger.SCHEDULED_UPDATE).created[0])


def row(page, symbol: str):
    holding = Holding.objects.get(stock__symbol=symbol)
    return page.locator(f"#holding-{holding.pk}")


def price(symbol: str) -> str:
    return f"${Stock.objects.get(symbol=symbol).bars.latest('date').close:,.2f}"


def is_the_same_page(page) -> bool:
    return page.evaluate("document.body.dataset.loaded") == "once"


def test_an_idle_page_learns_of_a_scheduled_fetch_without_a_reload(visit):
    page = visit(width=360)
    Holding.objects.update(shares=7)
    Stock.objects.get(symbol="AAPL").bars.all().delete()
    fetch("AAPL")
    expect(row(page, "AAPL")).to_contain_text(price("AAPL"))
    expect(row(page, "AAPL")).to_contain_text("7")  # the row was rendered anew
    expect(row(page, "MSFT")).to_contain_text("10")
    expect(page.locator("#live")).to_have_text("AAPL updated")
    expect(page.locator(".totals")).to_be_visible()
    assert is_the_same_page(page)
    assert not is_too_wide(page)
    assert violations(page) == []


def test_focus_selection_scroll_and_order_stay(visit):
    page = visit(height=300)
    link = row(page, "AAPL").get_by_role("link", name="AAPL", exact=True)
    link.focus()
    page.evaluate(
        """() => {
          getSelection().selectAllChildren(document.querySelector("tbody .symbol"));
          scrollTo(0, 40);
        }"""
    )
    before = page.evaluate(
        "[getSelection().toString(), scrollY, [...document.querySelectorAll('tr')].map((r) => r.id)]"
    )
    Holding.objects.filter(stock__symbol="MSFT").update(shares=100_000)  # it would be first after a reload
    fetch("AAPL")
    fetch("MSFT")
    expect(row(page, "MSFT")).to_contain_text("100,000")
    expect(page.locator("#live")).to_contain_text("updated")
    after = page.evaluate(
        "[getSelection().toString(), scrollY, [...document.querySelectorAll('tr')].map((r) => r.id)]"
    )
    assert after == before
    expect(link).to_be_focused()


def test_a_lost_session_leads_to_the_login_as_a_whole_page(visit):
    page = visit()
    Session.objects.all().delete()
    fetch("AAPL")
    page.wait_for_url(re.compile("/accounts/login/"))
    expect(page.get_by_label("Username")).to_be_visible()
    expect(page.locator("table")).to_have_count(0)


def test_a_server_that_is_away_is_said_and_what_was_missed_is_caught_up(visit, web_server, expected_errors):
    expected_errors.append("Failed to load resource: ")
    page = visit()
    web_server.stop()
    expect(page.locator("#live")).to_have_text(INTERRUPTED)
    Holding.objects.update(shares=7)
    fetch("AAPL")
    web_server.start()
    expect(row(page, "AAPL")).to_contain_text("7")
    expect(page.locator("#live")).not_to_have_text(INTERRUPTED)
    assert is_the_same_page(page)


def test_the_page_of_a_stock_shows_a_new_price_and_keeps_its_chart(visit):
    page = visit("/stocks/AAPL/")
    expect(page.locator("#chart-state")).to_contain_text("10 days until")
    page.evaluate("document.getElementById('chart').dataset.mark = 'kept'")
    stock = Stock.objects.get(symbol="AAPL")
    fetch("AAPL")
    expect(page.locator("#price")).to_contain_text(price("AAPL"))
    expect(page.locator("#live")).to_have_text("AAPL updated")
    expect(page.locator("#chart-state")).to_contain_text(f"{stock.bars.count()} days until")
    assert page.evaluate("document.getElementById('chart').dataset.mark") == "kept"
    assert is_the_same_page(page)


def test_relative_times_move_by_themselves(visit):
    page = visit()
    time = row(page, "AAPL").locator("time")
    expect(time).to_have_text("5\u00a0minutes ago")
    page.evaluate(
        """() => {
          const time = document.querySelector("time[data-ago]");
          time.dateTime = new Date(Date.now() - 95 * 60000).toISOString();
        }"""
    )
    expect(page.locator("time[data-ago]").first).to_have_text("1\u00a0hour, 35\u00a0minutes ago")


def test_a_holding_that_was_added_elsewhere_appears(visit, hold, owner, yahoo):
    page = visit()
    yahoo.serve("TSLA")
    hold(owner, "TSLA")
    page.reload()  # the stream of before knows two stocks
    Holding.objects.filter(stock__symbol="TSLA").delete()
    hold(owner, "TSLA")  # with another id
    fetch("TSLA")
    expect(row(page, "TSLA")).to_contain_text(price("TSLA"))


def test_a_page_without_a_stream_asks_again_by_itself(visit):
    page = visit()
    page.route("**/live/**", lambda route: route.fulfill(status=204))
    request_fetches([Stock.objects.get(symbol="AAPL")], Job.Trigger.SCHEDULED_UPDATE)
    page.reload()
    expect(row(page, "AAPL")).to_contain_text("updating")
    page.evaluate("document.body.dataset.loaded = 'once'")
    run_once(Job.objects.get())
    expect(row(page, "AAPL")).not_to_contain_text("updating")
    assert is_the_same_page(page)
