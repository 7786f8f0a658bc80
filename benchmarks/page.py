"""The portfolio page with few and many holdings: the web server's answer, and the first contentful paint in Chromium.

The stocks have three currencies, and 40 bars each. Pages of both sizes are taken in turn.
"""

import shutil
import time
from collections.abc import Iterable
from datetime import timedelta
from statistics import median

import django

django.setup()

from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from playwright.sync_api import Browser, sync_playwright

from benchmarks.options import Options
from benchmarks.report import Spread, publish
from benchmarks.site import hold, web_server
from market.models import PriceBar, Stock
from tests.support.live_stream import cookie_of

CURRENCIES = ("USD", "EUR", "GBp")
PAINTED = """() => new Promise((found) => new PerformanceObserver((list) => {
    const paint = list.getEntriesByName("first-contentful-paint")[0];
    if (paint) found(paint.startTime / 1000);
}).observe({ type: "paint", buffered: true }))"""


def main() -> None:
    options = Options("page", __doc__)
    options.add_size("runs", "pages of each size", 15, smallest=2)
    options.add_size("few", "holdings of the small portfolio", 50, smallest=2)
    options.add_size("many", "holdings of the large portfolio", 500, smallest=3)
    arguments = options.parse()
    call_command("migrate", verbosity=0)
    priced([Stock.objects.create(symbol=f"{name}=X", currency=name) for name in ("EUR", "GBP")])
    owners = {count: owner_of(count) for count in (arguments.few, arguments.many)}
    # Playwright runs an event loop in this thread, and Django refuses queries beside one.
    cookies = {count: cookie_of(user) for count, user in owners.items()}
    queries = queries_of(owners[arguments.many])
    with web_server("--threads", "4") as (site, _), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        figures = measure(browser, site, cookies, arguments.runs)
        browser.close()
    figures[f"queries, {arguments.many} holdings"] = Spread.of([queries])
    publish(f"page-{connection.vendor}", f"The portfolio page, {connection.vendor}", "seconds", figures)


def owner_of(count: int) -> User:
    stocks = Stock.objects.bulk_create(
        Stock(symbol=f"P{count}-{number}", name="A company", currency=CURRENCIES[number % 3], exchange="NMS")
        for number in range(count)
    )
    priced(stocks)
    return hold(f"owner of {count}", stocks)


def priced(stocks: Iterable[Stock]) -> None:
    today = timezone.now().date()
    PriceBar.objects.bulk_create(
        PriceBar(stock=stock, date=today - timedelta(days=ago), close=10 + ago)
        for stock in stocks
        for ago in range(40)
    )
    Stock.objects.update(checked_at=timezone.now(), last_bar_on=today)


def measure(browser: Browser, site: str, cookies: dict[int, str], runs: int) -> dict[str, Spread]:
    """The figures of each size, taken in turn. `cookies`: of the owners, by the number of holdings."""
    answers: dict[int, list[float]] = {count: [] for count in cookies}
    paints: dict[int, list[float]] = {count: [] for count in cookies}
    for _ in range(runs):
        for count, cookie in cookies.items():
            context = browser.new_context(base_url=site, extra_http_headers={"Cookie": cookie})
            page = context.new_page()
            began = time.perf_counter()
            context.request.get("/").body()
            answers[count].append(time.perf_counter() - began)
            page.goto("/", wait_until="commit")
            paints[count].append(page.evaluate(PAINTED))
            context.close()
    few, many = cookies
    figures = {f"answer, {count} holdings, s": Spread.of(values) for count, values in answers.items()}
    figures |= {f"first contentful paint, {count} holdings, s": Spread.of(values) for count, values in paints.items()}
    figures["ratio of the paints"] = Spread.of([median(paints[many]) / median(paints[few])])
    return figures


def queries_of(user: User) -> float:
    client = Client(headers={"host": "127.0.0.1"})
    client.force_login(user)
    with CaptureQueriesContext(connection) as queries:
        client.get("/")
    return float(len(queries))


if __name__ == "__main__":
    main()
