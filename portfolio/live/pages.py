"""The open pages that wait for changes. Imports no models: gunicorn loads its worker before Django is set up."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

PAGES_OF_A_USER = 20
"""The most open pages of a user in a web process. Each visible tab of a browser is an open page."""
ALL_PAGES = 5_000
"""The most open pages in a web process; a page takes about 20 kB."""
LONGEST_BACKLOG = 2_000_000
"""The most characters that wait for a slow page; beyond, the page is closed, and catches up when it opens again."""


class NoRoom(Exception):
    """The user or the web process has too many open pages."""


@dataclass(eq=False)
class OpenPage:
    """A page in a browser: its symbols, its user, and the text that waits to be sent.

    `stock`: the symbol of a stock's page, or empty on the portfolio page. `login`: for `portfolio.visit`.
    `session_hash` changes with the user's password. Threads may call every method.
    """

    user: int
    session: str
    session_hash: str
    symbols: frozenset[str]
    stock: str = ""
    login: Mapping[str, Any] = field(default_factory=dict)
    has_ended: bool = False
    _waiting: list[str] = field(default_factory=list)
    _backlog: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _wake: Callable[[], object] = lambda: None

    def on_news(self, wake: Callable[[], object]) -> None:
        """Call `wake` after each change from now on, and at once if there has been one."""
        self._wake = wake
        if self._waiting or self.has_ended:
            wake()

    def send(self, texts: Sequence[str]) -> None:
        """Add texts that wait. A page that has ended takes no more: its client may be too slow even for the last."""
        with self._lock:
            if self.has_ended:
                return
            self._waiting += texts
            self._backlog += sum(map(len, texts))
            self.has_ended = self._backlog > LONGEST_BACKLOG
        self._wake()

    def take(self) -> str:
        """All text that waits."""
        with self._lock:
            text = "".join(self._waiting)
            self._waiting.clear()
            self._backlog = 0
        return text

    def end(self) -> None:
        """End the stream after the text that waits."""
        self.has_ended = True
        self._wake()


class OpenPages:
    """The open pages of this process."""

    def __init__(self) -> None:
        self._pages: set[OpenPage] = set()
        self._of_users: Counter[int] = Counter()
        self._lock = threading.Lock()
        self._closed = False
        self.seen_until = time.time()
        """Unix time: pages have been sent all that was committed before."""

    def __len__(self) -> int:
        return len(self._pages)

    def add(self, page: OpenPage) -> None:
        """Raises NoRoom if there are too many pages, or if the process is stopping."""
        with self._lock:
            if self._closed or len(self._pages) >= ALL_PAGES or self._of_users[page.user] >= PAGES_OF_A_USER:
                raise NoRoom
            self._pages.add(page)
            self._of_users[page.user] += 1

    def remove(self, page: OpenPage) -> None:
        """No effect if the page was not added."""
        with self._lock:
            if page in self._pages:
                self._pages.remove(page)
                self._of_users[page.user] -= 1
                self._of_users += Counter()  # without users who have no page left

    def all(self) -> list[OpenPage]:
        with self._lock:
            return list(self._pages)

    def showing(self, symbols: Collection[str]) -> list[OpenPage]:
        """The pages with any of the symbols."""
        return [page for page in self.all() if not page.symbols.isdisjoint(symbols)]

    def close(self) -> None:
        """End all streams, and admit no more: the process is stopping."""
        self._closed = True
        for page in self.all():
            page.end()


open_pages = OpenPages()
