"""These fixtures serve several test files of the admin: its staff, bulk actions, and the page "Stock data"."""

import html
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from console.dashboard.links import Figure
from console.dashboard.page import Page
from operations.monitoring import health
from operations.monitoring.health import Readiness
from tasks.bulk import runner
from tests.support.bulk_actions import PERMISSIONS, may
from tests.support.lists import rows_of
from tests.support.stock_data_page import FIGURES

StockData = Callable[[], Page]


@pytest.fixture
def staff(client, django_user_model):
    """staff("portfolio.add_holding"): log a member of the staff in, who has these permissions alone."""

    def staff(*permissions: str) -> Client:
        member = django_user_model.objects.create_user("staff", is_staff=True)
        for permission in permissions:
            app, codename = permission.split(".")
            member.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
        client.force_login(member)
        return client

    return staff


# Bulk actions


@pytest.fixture
def small_batches(monkeypatch):
    """Bulk actions take three jobs at a time, without a pause between."""
    monkeypatch.setattr(runner, "JOBS_PER_BATCH", 3)
    monkeypatch.setattr(runner, "PAUSE_BETWEEN_BATCHES", 0)


@pytest.fixture
def operator(django_user_model) -> User:
    """Somebody of the staff who may do everything to jobs."""
    return may(django_user_model.objects.create_user("operator", is_staff=True), *PERMISSIONS)


# The page "Stock data"


@pytest.fixture
def server_health(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """server_health(broker="does not answer"): what a look at the servers finds; test_health.py looks at real ones."""

    def server_health(database: str = health.OK, broker: str = health.OK) -> None:
        found = Readiness("", {"database": database, "broker": broker})
        monkeypatch.setattr(health, "readiness", lambda: found)

    server_health()
    return server_health


@pytest.fixture
def stock_data(admin_client: Client, server_health: Callable[..., None]) -> StockData:
    """stock_data(): what the page shows now."""

    def stock_data() -> Page:
        answer = admin_client.get(FIGURES)
        assert answer.status_code == 200
        page: Page = answer.context["page"]
        return page

    return stock_data


@pytest.fixture
def stock_data_words(admin_client: Client, server_health: Callable[..., None]) -> Callable[[], str]:
    """stock_data_words(): the text of the page now, without tags."""

    def stock_data_words() -> str:
        shown = re.sub(r"<[^>]+>", " ", admin_client.get(FIGURES).content.decode())
        return " ".join(html.unescape(shown).split())

    return stock_data_words


@pytest.fixture
def rows_behind(admin_user: User) -> Callable[[Figure], set[Any]]:
    """rows_behind(figure): the keys of what the list that it leads to has."""
    return lambda figure: set(rows_of(figure.link, admin_user))
