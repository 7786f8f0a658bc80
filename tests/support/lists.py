"""The admin's lists that figures lead to, as somebody sees them who goes through all of their pages."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from django.contrib.admin.views.main import PAGE_VAR
from django.contrib.auth.models import User
from django.test import RequestFactory
from django.urls import resolve

from console.dashboard.links import Figure
from console.kit.keyset import Page as KeysetPage


def rows_of(link: str, user: User) -> list[Any]:
    """The keys of the rows of the list at `link`, page by page; they are not rendered, which would take long."""
    address = urlsplit(link)
    model_admin = resolve(address.path).func.model_admin  # type: ignore[attr-defined]
    asked = dict(parse_qsl(address.query, keep_blank_values=True))
    rows: list[Any] = []
    while True:
        request = RequestFactory().get(address.path, asked)
        request.user = user
        page = model_admin.get_changelist_instance(request)
        rows += [row.pk for row in page.result_list]
        if isinstance(page.paginator, KeysetPage):
            if not page.paginator.older:
                return rows
            asked = dict(parse_qsl(page.paginator.older.lstrip("?"), keep_blank_values=True))
        elif page.page_num < page.paginator.num_pages:
            asked[PAGE_VAR] = str(page.page_num + 1)
        else:
            return rows


def figures_in(value: Any) -> Iterator[Figure]:
    """All that are somewhere in a page, or in a part of one."""
    if isinstance(value, Figure):
        yield value
    elif is_dataclass(value):
        for field in fields(value):
            yield from figures_in(getattr(value, field.name))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from figures_in(part)
