"""The prices of the last login: how many were ready, and how soon the rest was."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.sessions.backends.base import SessionBase

from portfolio.badges import Fetch
from stockqueue.wording import describe_duration

_KEY = "login"
_REQUESTED_WITHIN = timedelta(seconds=5)
"""A fetch that was requested later has other reasons than the login."""


@dataclass(frozen=True)
class Visit:
    """The prices of a login: `fetching` of them are still on their way, and `failed` could not be fetched.

    `took` is the time until the last fetch ended.
    """

    stocks: int
    ready: int
    fetching: int
    failed: int
    took: timedelta | None

    def __str__(self) -> str:
        ready = f"{self.ready} of {self.stocks} prices were ready before you came"
        if self.fetching:
            return f"{ready}; {self.fetching} {'is' if self.fetching == 1 else 'are'} being fetched."
        if self.failed:
            return f"{ready}; {self.failed} could not be fetched."
        if self.took is not None:
            return f"{ready}; all were fresh {describe_duration(self.took)} after you logged in."
        return f"{ready}."


def remember_login(session: SessionBase, at: datetime, stocks: int, stale: int) -> None:
    """Keep the figures of a login for the pages of the session."""
    session[_KEY] = {"at": at.isoformat(), "stocks": stocks, "stale": stale}


def login_in(session: SessionBase) -> dict[str, Any]:
    """The part of a session that `visit_of` reads."""
    return {_KEY: session.get(_KEY)}


def visit_of(session: SessionBase | Mapping[str, Any], fetches: Iterable[Fetch]) -> Visit | None:
    """The prices of the session's login. `fetches`: the newest ordinary fetch of each stock.

    None without a login, and once a stock was fetched for another reason.
    """
    login = session.get(_KEY)
    if not login or not login["stocks"]:
        return None
    at = datetime.fromisoformat(login["at"])
    since = [fetch for fetch in fetches if fetch.finished_at is None or fetch.finished_at > at]
    if any(fetch.created_at > at + _REQUESTED_WITHIN for fetch in since):
        return None
    ended = [fetch.finished_at for fetch in since if fetch.finished_at is not None]
    took = max(ended) - at if login["stale"] and ended else None
    fetching = min(len(since) - len(ended), login["stale"])  # a fresh stock has another reason to be fetched
    failed = sum(not fetch.is_active and bool(fetch.error) for fetch in since)
    return Visit(login["stocks"], login["stocks"] - login["stale"], fetching, failed, took)
