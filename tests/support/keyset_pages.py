"""The admin's lists with keyset paging, as tests look at them."""

import html
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib import admin
from django.test import Client

from console.kit.keyset import KeysetList


class Shown:
    """A page of a list: its `rows`, its `words`, and the addresses of others by what is written on the links."""

    def __init__(self, answer: Any) -> None:
        assert answer.status_code == 200
        self.html: str = answer.content.decode()
        self.list = answer.context["cl"]
        self.rows = list(self.list.result_list)
        self.words = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", self.html)).split())
        found = re.findall(r'<a [^>]*href="([^"]*)"[^>]*>\s*([^<]*?)\s*</a>', self.html)
        self.links = {html.unescape(words): html.unescape(address) for address, words in found}


Look = Callable[..., Shown]


def look_with(client: Client, path: str) -> Look:
    """look(status__exact="failed"): the list at `path` with these filters; look(address): what a link leads to."""

    def look(address: str = "", **lookups: Any) -> Shown:
        return Shown(client.get(path + (address or f"?{urlencode(lookups)}")))

    return look


def follow(look: Look, link: str, shown: Shown) -> list[Shown]:
    """The pages that one sees who follows this link as long as there is one, the first one included."""
    seen = [shown]
    while link in seen[-1].links:
        seen.append(look(seen[-1].links[link]))
        assert len(seen) < 100
    return seen


def last_with_rows(pages: list[Shown]) -> Shown:
    return next(page for page in reversed(pages) if page.rows)


def limit_pages(patch: pytest.MonkeyPatch, rows: int, look_back: int = 1_000, scattered: int = 1_000) -> None:
    """Have each page show so many rows, and look through so many at most."""
    for model_admin in admin.site._registry.values():
        if isinstance(model_admin, KeysetList):
            patch.setattr(model_admin, "list_per_page", rows)
    patch.setattr("console.kit.keyset.LOOK_BACK", look_back)
    patch.setattr("console.kit.keyset.SCATTERED", scattered)
