"""pytest plugin: pages of a live server in a real Chromium, as their users see them.

Playwright brings no browser of its own here: it drives the one on PATH.
"""

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, expect, sync_playwright

from operations.local.child_processes import wait_until
from tests.support.servers import MissingServer

if TYPE_CHECKING:  # a plugin is loaded before Django knows its models
    from django.contrib.auth.models import User

PATIENCE = 60.0
"""Seconds that a page may take to show what is expected."""

Browse = Callable[..., Page]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser for the tests of one file: as long as it is there, nothing else in this thread can use asyncio."""
    program = shutil.which("chromium")
    if program is None:
        raise MissingServer("chromium is not installed; `make servers` installs it")
    expect.set_options(timeout=PATIENCE * 1000)
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        # Playwright waits in an event loop of this thread, and Django takes everything here for a coroutine.
        patch.setitem(os.environ, "DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        with playwright.chromium.launch(executable_path=program, args=["--no-sandbox"]) as browser:
            yield browser


@pytest.fixture
def web_server(live_server: Any) -> Any:
    """The server that `browse` shows pages of: Django's for tests, unless a file of tests has another."""
    return live_server


@pytest.fixture
def expected_errors() -> list[str]:
    """The beginnings of errors on the console that a test provokes."""
    return []


@pytest.fixture
def browse(chromium: Browser, web_server: Any, expected_errors: list[str]) -> Iterator[Browse]:
    """browse(user, "/admin/", width=360, dark=True): the page, as that user sees it who is logged in.

    Afterwards no script may have failed, and nothing but our server may have been asked for anything.
    """
    contexts: list[BrowserContext] = []
    wrong: list[str] = []

    def hear(said: ConsoleMessage) -> None:
        if said.type == "error" and not said.text.startswith(tuple(expected_errors)):
            wrong.append(said.text)

    def see(asked: Request) -> None:
        if not asked.url.startswith(web_server.url):
            wrong.append(asked.url)

    def browse(user: "User", path: str, *, width: int = 1280, height: int = 900, dark: bool = False) -> Page:
        client = Client()
        client.force_login(user)
        context = chromium.new_context(
            base_url=web_server.url,
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
        )
        contexts.append(context)
        context.set_default_timeout(PATIENCE * 1000)
        name = settings.SESSION_COOKIE_NAME
        context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": web_server.url}])
        context.on("weberror", lambda error: wrong.append(str(error.error)))
        context.on("console", hear)
        context.on("request", see)
        page = context.new_page()
        answer = page.goto(path)
        assert answer is not None
        assert answer.ok, f"{path}: {answer.status}"
        return page

    yield browse
    for context in contexts:
        context.close()
    # What was asked for last is still being answered, and the database is emptied next.
    wait_until(lambda: not any("process_request" in one.name for one in threading.enumerate()), "the live server")
    assert not wrong


def is_too_wide(page: Page) -> bool:
    """Whether the page has to be scrolled sideways."""
    return bool(page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))


def violations(page: Page, within: str = "html") -> list[str]:
    """The rules of accessibility that a part of the page breaks, by axe-core, each with the broken elements."""
    found = Axe().run(page, context=within).response["violations"]
    return [f"{rule['id']}: {', '.join(node['html'][:120] for node in rule['nodes'])}" for rule in found]
