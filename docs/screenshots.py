"""Takes the README's pictures in Chromium, of the whole system with sample prices in its own folder.

`make screenshots` runs it; the pictures are in docs/images.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from playwright.sync_api import Browser, Page, expect, sync_playwright

from operations.local.child_processes import free_port, is_listening, spawn, stop, wait_until

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
PATIENCE = 120.0
"""Seconds until prices, analyses and statistics are there."""


@contextmanager
def _running(folder: Path) -> Iterator[str]:
    """The address of a system with the demo data and sample prices, until the block ends."""
    content = yaml.safe_load((ROOT / "job_processor.yml").read_text(encoding="utf-8"))
    job_processor, http_port = content["job_processor"], free_port()
    job_processor["stock_jobs"]["data_fetch"]["sources"] = ["sample"]
    job_processor["stock_jobs"]["analysis"]["at_login"] = ["technical"]
    job_processor["queue"]["mqtt"]["port"] = free_port()
    configuration = folder / "job_processor.yml"
    configuration.write_text(yaml.safe_dump(content), encoding="utf-8")
    foreign = ("CELERY_", "DATABASE_URL", "MQTT_", "STOCKQUEUE_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    environment |= {"STOCKQUEUE_VAR": str(folder), "STOCKQUEUE_CONFIG": str(configuration), "DJANGO_DEBUG": "1"}
    with (folder / "output.log").open("wb") as output:
        argv = [sys.executable, "manage.py", "run", "--port", str(http_port)]
        process = spawn(argv, cwd=ROOT, env=environment, output=output.fileno())
    try:
        wait_until(lambda: is_listening("127.0.0.1", http_port), "the web server", process=process, timeout=PATIENCE)
        yield f"http://127.0.0.1:{http_port}"
    finally:
        stop(process)


def _log_in(browser: Browser, address: str, name: str, **look: Any) -> Page:
    """A browser page with a logged-in user. The password equals the name, as in the demo data."""
    page: Page = browser.new_context(base_url=address, **look).new_page()
    page.set_default_timeout(PATIENCE * 1000)
    page.goto("/accounts/login/")
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill(name)
    page.get_by_role("button").click()
    page.wait_for_url("**/")
    return page


def _take(page: Page, name: str) -> None:
    page.screenshot(path=IMAGES / f"{name}.png")
    print(f"docs/images/{name}.png")


def main() -> None:
    """Take all pictures."""
    program = shutil.which("chromium")
    if program is None:
        sys.exit("chromium is not installed; `make servers` installs it")
    IMAGES.mkdir(exist_ok=True)
    expect.set_options(timeout=PATIENCE * 1000)
    with (
        tempfile.TemporaryDirectory(prefix="stockqueue-screenshots-") as folder,
        _running(Path(folder)) as address,
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=program, args=["--no-sandbox"]) as browser,
    ):
        owner = _log_in(browser, address, "demo", viewport={"width": 1000, "height": 620})
        expect(owner.locator("#visit")).to_contain_text("all were fresh")
        owner.reload()
        _take(owner, "portfolio")
        owner.set_viewport_size({"width": 1000, "height": 1250})
        owner.get_by_role("link", name="AAPL", exact=True).click()
        expect(owner.locator("#technical")).to_contain_text("confidence")
        expect(owner.locator("#chart-state")).to_contain_text("days until")
        _take(owner, "stock")
        admin = _log_in(browser, address, "admin", viewport={"width": 1400, "height": 1000}, color_scheme="dark")
        admin.goto("/admin/operations/stockdata/")
        expect(admin.get_by_role("heading", name="background_analysis")).to_be_visible()
        _take(admin, "stock-data")
        admin.goto("/admin/tasks/job/")
        _take(admin, "jobs")


if __name__ == "__main__":
    main()
