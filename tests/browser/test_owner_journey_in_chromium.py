"""An owner's first days, from the sign-up to a raised alert, in real Chromium with the whole system."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from playwright.sync_api import Locator, Page, expect

from operations.local.child_processes import free_port, wait_until
from operations.local.mqtt_subscriber import Subscriber
from portfolio.models import Holding
from tasks.models import Job
from tests.conftest import BRIDGE, WORKER
from tests.faults.steps import BEAT
from tests.support.chromium import PATIENCE, is_too_wide, violations
from tests.support.live_stream import WEB_SERVER
from tests.support.standins.mail_server import MailServer
from tests.support.standins.yahoo import YahooStandIn
from tests.support.standins.yahoo_chart import Bar, daily_bars

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]

FILE = Path(__file__).parents[1] / "portfolio" / "files" / "brokers" / "degiro-portfolio.csv"
ISIN, NAME, PASSWORD, ADDRESS = "US6536561086", "anna", "a long new password 7", "anna@example.com"
LOOKS: list[tuple[int, Literal["light", "dark"]]] = [(1280, "light"), (1280, "dark"), (360, "light"), (360, "dark")]
EVERY_QUEUE = (*WORKER, "-Q", "foreground,background_fetch,background_analysis")


class Market:
    """What Yahoo has of a stock: a bar of each day until yesterday, at an exchange that never closes."""

    def __init__(self, server: YahooStandIn, symbol: str, name: str, isin: str = "") -> None:
        self._server, self._symbol = server, symbol
        self._facts: dict[str, Any] = {"name": name, "isin": isin, "timezone": "UTC"}
        self.days = [timezone.now().date() - timedelta(days=age) for age in range(25, 0, -1)]
        plain = daily_bars(symbol, len(self.days))
        self._show([replace(bar, date=day, adj_close=bar.close) for bar, day in zip(plain, self.days, strict=True)])

    def _show(self, bars: list[Bar], **events: Any) -> None:
        self._bars = bars
        self._server.serve(self._symbol, bars, **self._facts, **events)

    @property
    def close(self) -> float:
        return self._bars[-1].close

    @property
    def price(self) -> str:
        """The newest close as pages show it."""
        return f"${self.close:,.2f}"

    def split(self, numerator: int) -> None:
        """Yesterday one share became `numerator` shares; all bars are adjusted."""
        bars = [_scaled(bar, 1 / numerator) for bar in self._bars]
        self._show(bars, splits={self.days[-1]: (numerator, 1)})

    def rise(self, factor: float) -> None:
        """The newest price rises."""
        *before, newest = self._bars
        self._show([*before, _scaled(newest, factor)])


def _scaled(bar: Bar, factor: float) -> Bar:
    names = ("open", "high", "low", "close", "adj_close")
    return replace(bar, **{name: round(getattr(bar, name) * factor, 2) for name in names})


class System(NamedTuple):
    """A running system. `url`: its web server's address."""

    url: str
    mails: MailServer
    messages: Subscriber


@pytest.fixture
def web_server(
    transactional_db, start, yahoo, new_redis, mosquitto_server, subscribe, configured, settings
) -> Iterator[System]:
    """Web server, worker, beat and bridge with a mail server, where visitors can sign up."""
    address = f"127.0.0.1:{free_port()}"
    file = configured(**{"portfolio.sign_up": "open", "portfolio.refresh_cooldown": 0})
    with ExitStack() as running:
        mails = running.enter_context(MailServer())
        environment = yahoo.server.environment | {
            "STOCKQUEUE_CONFIG": str(file),
            "CELERY_BROKER_URL": new_redis.url,
            "MQTT_URL": mosquitto_server.url,
            "EMAIL_URL": mails.url,
        }
        for words, ready in (
            ((*WEB_SERVER, address), "listening on"),
            (EVERY_QUEUE, " ready."),
            (BEAT, "beat"),
            (BRIDGE, "connected to"),
        ):
            running.enter_context(start(*words, ready=ready, **environment))
        messages = running.enter_context(subscribe(mosquitto_server, "stockqueue/alerts/+/+"))
        yield System(f"http://{address}", mails, messages)


@pytest.fixture
def market(yahoo):
    """market("NICE", "NICE Ltd."): a stock that Yahoo knows."""

    def market(symbol: str, name: str, isin: str = "") -> Market:
        yahoo.touched.append(symbol)
        return Market(yahoo.server, symbol, name, isin)

    return market


@pytest.fixture
def visitor(browse, user, web_server) -> Page:
    """A browser without a login."""
    page = browse(user, "/")
    page.context.clear_cookies()
    return page


def check(page: Page, name: str) -> None:
    """The page is accessible and needs no scrolling sideways, on a desk and a phone, in the light and the dark."""
    for width, scheme in LOOKS:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        wait_until(lambda: not is_too_wide(page), f"{name} {width} wide")  # a chart is drawn anew
        assert violations(page) == [], f"{name}, {width} wide, {scheme}"
    page.set_viewport_size({"width": 1280, "height": 900})


def log_in(page: Page) -> None:
    page.get_by_label("Username").fill(NAME)
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Portfolio", exact=True)).to_be_visible()


def row(page: Page, symbol: str) -> Locator:
    return page.get_by_role("row").filter(has=page.get_by_role("link", name=symbol, exact=True))


@contextmanager
def without_a_reload(page: Page) -> Iterator[None]:
    """What the block waits for comes to the page that is shown."""
    page.evaluate("document.body.dataset.loaded = 'once'")
    yield
    assert page.evaluate("document.body.dataset.loaded") == "once"


def await_the_jobs() -> None:
    wait_until(lambda: not Job.objects.filter(status__in=Job.ACTIVE).exists(), "the jobs", timeout=PATIENCE)


def numbers(symbol: str) -> tuple[float, float]:
    """The shares and the buy price of a holding."""
    holding = Holding.objects.get(stock__symbol=symbol)
    return float(holding.shares), float(holding.buy_price or 0)


def sign_up(page: Page, mails: MailServer) -> None:
    page.goto("/")
    page.get_by_role("link", name="Sign up").click()
    check(page, "sign up")
    page.get_by_label("Username").fill(NAME)
    page.get_by_label("Email").fill(ADDRESS)
    page.get_by_label("Password", exact=False).first.fill(PASSWORD)
    page.get_by_label("Password confirmation").fill(PASSWORD)
    page.get_by_role("button", name="Sign up").click()
    expect(page.get_by_role("heading", name="Look into your mail")).to_be_visible()
    check(page, "sign-up sent")
    wait_until(lambda: bool(mails.mails), "the mail", timeout=PATIENCE)


def confirm_the_address(page: Page, mails: MailServer) -> None:
    (mail,) = mails.mails
    link = re.search(r"http\S+", mail.get_content())
    assert link
    page.goto(link[0])
    check(page, "confirm")
    page.get_by_role("button", name="Confirm").click()
    expect(page.get_by_role("status")).to_have_text(f"The account {NAME} is ready. Log in with its password.")
    check(page, "login")


def choose_the_file(page: Page) -> None:
    """The empty page leads to the import, which finds the symbol of the file's ISIN."""
    expect(page.get_by_role("heading", name="You have no portfolio yet")).to_be_visible()
    check(page, "empty")
    page.get_by_role("link", name="Import a file of your broker").click()
    check(page, "import")
    page.get_by_label("File").set_input_files(FILE)
    page.get_by_role("button", name="Preview the changes").click()
    page.get_by_role("radio", name="NICE NICE Ltd.").check()
    check(page, "choice")
    page.get_by_role("button", name="Use these symbols").click()


def import_the_file(page: Page, stock: Market) -> None:
    expect(page.get_by_text("line 3: NICE, 13 at an unknown buy price")).to_be_visible()
    check(page, "preview")
    page.get_by_role("button", name="Import").click()
    expect(page.get_by_role("status").first).to_contain_text(f"Imported {FILE.name}: 1 added")
    with without_a_reload(page):
        expect(row(page, "NICE")).to_contain_text(stock.price)
        expect(row(page, "NICE")).to_contain_text("fresh")
    check(page, "portfolio")


def come_back(page: Page) -> None:
    await_the_jobs()
    page.get_by_role("button", name="Log out").click()
    log_in(page)
    expect(page.locator("#visit")).to_have_text("1 of 1 prices were ready before you came.")


def find_and_add(page: Page, stock: Market) -> None:
    """Part of a name leads to the symbol, by the keyboard."""
    page.get_by_role("link", name="Add a stock").click()
    page.get_by_role("combobox", name="Symbol").press_sequentially("acme")
    expect(page.get_by_role("option")).to_have_count(1)
    check(page, "search")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_role("combobox", name="Symbol")).to_have_value("ACMQ")
    page.get_by_label("Shares").focus()
    for key in ("1", "0", "Tab", "4", "0", "Enter"):
        page.keyboard.press(key)
    expect(page.get_by_role("status").first).to_have_text("Added 10 ACMQ.")
    with without_a_reload(page):
        expect(row(page, "ACMQ")).to_contain_text(stock.price)
    check(page, "two stocks")


def read_of_a_split(page: Page, stock: Market) -> None:
    await_the_jobs()
    Holding.objects.update(as_of=timezone.now() - timedelta(days=9))  # the split comes days after the entry
    stock.split(4)
    page.get_by_role("button", name="Refresh prices").click()
    expect(page.get_by_role("status").first).to_contain_text("Refresh: ")
    note = page.get_by_role("region", name="Splits of your stocks")
    with without_a_reload(page):
        expect(note).to_be_visible()
        expect(row(page, "ACMQ")).to_contain_text(stock.price)
        expect(row(page, "ACMQ").get_by_role("link", name="40 shares")).to_be_visible()
    expect(note).to_contain_text("Your 10 shares at $40.00 in Main became 40 shares at $10.00.")
    check(page, "split")


def undo_the_split(page: Page) -> None:
    page.get_by_role("button", name="Undo the split of ACMQ").click()
    expect(page.get_by_role("status").first).to_contain_text("Undone: you hold 10 ACMQ again")
    expect(row(page, "ACMQ")).to_contain_text("$400.00")  # the cost
    assert numbers("ACMQ") == (10, 40)


def set_an_alert(page: Page, threshold: float) -> None:
    await_the_jobs()
    page.get_by_role("link", name="NICE", exact=True).click()
    expect(page.locator("#chart-state")).to_contain_text("days until")
    page.get_by_role("link", name="Set an alert").click()
    page.get_by_label("Amount").fill(str(threshold))
    page.get_by_role("button", name="Set alert").click()
    expect(page.get_by_role("status").first).to_contain_text("Alert set on NICE: price at or above")
    check(page, "stock")


def be_alerted(page: Page, stock: Market) -> None:
    page.get_by_role("link", name="stockqueue").click()
    page.get_by_role("button", name="Refresh prices").click()
    expect(page.get_by_role("status").first).to_contain_text("Refresh: ")
    notices = page.get_by_role("region", name="Price alerts")
    with without_a_reload(page):
        expect(notices).to_contain_text(f"NICE is at {stock.price} (+")
    check(page, "notice")
    page.get_by_role("link", name="Alerts 1 new").click()
    expect(page.get_by_role("table").last).to_contain_text(stock.price)
    check(page, "alerts")


def assert_told(system: System, stock: Market, threshold: float) -> None:
    """The alert was published and mailed."""
    assert system.messages.wait_for(lambda messages: len(messages) == 1, PATIENCE)
    (message,) = system.messages.messages
    assert message.topic == f"stockqueue/alerts/{User.objects.get(username=NAME).pk}/NICE"
    told = json.loads(message.payload)
    assert (told["price"], told["threshold"]) == (stock.close, threshold)
    wait_until(lambda: len(system.mails.mails) == 2, "the mail", timeout=PATIENCE)
    mail = system.mails.mails[-1]
    assert (mail["To"], mail["Subject"]) == (ADDRESS, "stockqueue: price alert for NICE")
    assert f"NICE is at {stock.price}" in mail.get_content()


def test_an_owner_signs_up_imports_adds_undoes_a_split_and_is_alerted(visitor, market, web_server):
    nice, acme = market("NICE", "NICE Ltd.", isin=ISIN), market("ACMQ", "Acme Mining Inc.")
    sign_up(visitor, web_server.mails)
    confirm_the_address(visitor, web_server.mails)
    log_in(visitor)
    choose_the_file(visitor)
    import_the_file(visitor, nice)
    come_back(visitor)
    find_and_add(visitor, acme)
    read_of_a_split(visitor, acme)
    undo_the_split(visitor)
    threshold = round(nice.close * 1.1, 2)
    set_an_alert(visitor, threshold)
    nice.rise(1.2)
    be_alerted(visitor, nice)
    assert_told(web_server, nice, threshold)
