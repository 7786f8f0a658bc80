"""An owner imports a file of many rows on the page, while another user logs in again and again.

The import is the upload with its preview, and the confirmation, each until the server's whole answer. The other user
holds ten fresh stocks; the logins are compared with logins before the import.
"""

import re
import shutil
import threading
import time

import django

django.setup()

from django.core.management import call_command
from django.db import connection
from django.utils import timezone
from playwright.sync_api import APIRequestContext, sync_playwright

from benchmarks.options import Options
from benchmarks.report import Spread, publish
from benchmarks.site import PASSWORD, hold, web_server
from market.models import Stock
from operations.local.http_client import Browser
from portfolio.models import Holding
from tests.support.live_stream import cookie_of

PAGE = "/portfolios/import/"


def main() -> None:
    options = Options("imports", __doc__)
    options.add_size("runs", "imports", 3, smallest=1)
    options.add_size("rows", "rows of the file", 5000, smallest=10)
    options.add_size("logins", "logins before an import", 10, smallest=2)
    arguments = options.parse()
    call_command("migrate", verbosity=0)
    hold("other", Stock.objects.bulk_create(Stock(symbol=f"O{number}") for number in range(10)))
    Stock.objects.update(checked_at=timezone.now())
    cookies = [cookie_of(hold(f"owner {run}", [])) for run in range(arguments.runs)]
    alone, during, previews, confirmations = [], [], [], []
    with web_server("--threads", "4") as (site, _), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for run, cookie in enumerate(cookies):
            alone += [log_in(site) for _ in range(arguments.logins)]
            logins = Logins(site)
            visitor = browser.new_context(base_url=site)
            name, _, value = cookie.partition("=")
            visitor.add_cookies([{"name": name, "value": value, "url": site}])
            preview, confirmation = import_rows(visitor.request, run, arguments.rows)
            during += logins.stop()
            previews.append(preview)
            confirmations.append(confirmation)
        browser.close()
    assert Holding.objects.count() == arguments.runs * arguments.rows + 10
    figures = {
        "preview, s": Spread.of(previews),
        "confirmation, s": Spread.of(confirmations),
        "login of another user before, s": Spread.of(alone),
        "login of another user meanwhile, s": Spread.of(during),
    }
    publish(f"imports-{connection.vendor}", f"{arguments.rows} rows, {connection.vendor}", "seconds", figures)


def import_rows(visitor: APIRequestContext, run: int, rows: int) -> tuple[float, float]:
    """Seconds of the preview and of the confirmation of a file with stocks that are new in this run."""
    lines = (f"N{run}X{number},{1 + number % 90},{2 + number % 70}\n" for number in range(rows))
    file = {
        "name": "mine.csv",
        "mimeType": "text/csv",
        "buffer": ("symbol,shares,buy_price\n" + "".join(lines)).encode(),
    }
    token = field(visitor.get(PAGE).text(), "csrfmiddlewaretoken")
    began = time.perf_counter()
    preview = visitor.post(PAGE, multipart={"csrfmiddlewaretoken": token, "file": file}).text()  # type: ignore[dict-item]
    seen = time.perf_counter()
    form: dict[str, str | float | bool] = {name: field(preview, name) for name in ("csrfmiddlewaretoken", "sealed")}
    answer = visitor.post(PAGE, form=form | {"confirm": ""})
    assert answer.ok, answer.text()
    return seen - began, time.perf_counter() - seen


def field(page: str, name: str) -> str:
    """The value of a hidden field."""
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found, page
    return found[1]


class Logins:
    """Logins of the other user, one after the other, until they are stopped."""

    def __init__(self, site: str) -> None:
        self._seconds: list[float] = []
        self._has_ended = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(site,))
        self._thread.start()

    def stop(self) -> list[float]:
        self._has_ended.set()
        self._thread.join()
        return self._seconds

    def _run(self, site: str) -> None:
        while not self._has_ended.is_set():
            self._seconds.append(log_in(site))


def log_in(site: str) -> float:
    """Seconds until the page after a login."""
    began = time.perf_counter()
    Browser(site).log_in("other", PASSWORD)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
