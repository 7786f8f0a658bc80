"""The thread that waits for commits, and sends open pages what has changed."""

import logging
import math
import select
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from django.contrib.auth.models import User
from django.db import DatabaseError, InterfaceError, OperationalError, connection

from portfolio.holdings import Values
from portfolio.live.changes import NewEvents
from portfolio.live.fragments import parts, rows
from portfolio.live.messages import FIGURES
from portfolio.live.pages import OpenPage, OpenPages, open_pages
from portfolio.live.sessions import logged_in
from tasks.wakeup import HasFileno, Wakeup, wakeup

logger = logging.getLogger(__name__)

GATHER = 0.1
"""The shortest time in seconds between two reads: events of this time are read together."""
BETWEEN_TOTALS = 3.0
"""The shortest time in seconds between two totals of a user, which take all holdings."""
ROUND = 60.0
"""Seconds between two checks of all sessions, and reads without a notification (it may be lost in a pooler)."""
LONGEST_PAUSE = 10.0
"""The longest pause in seconds between two attempts during an outage of the database."""

Audience = list[tuple[OpenPage, User]]


class Listener:
    """Runs while pages are open. Without events, it makes three queries in a ROUND, however many pages there are."""

    def __init__(self, pages: OpenPages) -> None:
        self._pages = pages
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Listen to all events that are committed from now on. Call after adding a page."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, args=(NewEvents(),), name="live updates", daemon=True
                )
                self._pages.seen_until = time.time()
                self._thread.start()

    def _run(self, events: NewEvents) -> None:
        try:
            self._listen(events)
        finally:
            connection.close()
            with self._lock:
                self._thread = None
            if self._pages:  # opened just now, or an error ended the thread: pages that open again catch up
                for page in self._pages.all():
                    page.end()

    def _listen(self, events: NewEvents) -> None:
        pause = 0.0
        while self._pages:
            try:
                _Listening(self._pages, events).run()
                pause = 0.0
            except (DatabaseError, InterfaceError) as error:
                if not pause:
                    logger.warning("live updates wait: %s", str(error).partition("\n")[0])
                pause = min(max(0.25, pause * 2), LONGEST_PAUSE)
                connection.close()
                time.sleep(pause)


class _Listening:
    """Listens on one database connection, until it breaks or no page is open."""

    def __init__(self, pages: OpenPages, events: NewEvents) -> None:
        self._pages = pages
        self._events = events
        self._next_round = time.monotonic() + ROUND
        self._next_totals: dict[int, float] = {}
        self._owed: set[int] = set()
        self._values: dict[int, Values] = {}

    def run(self) -> None:
        news = wakeup()
        while self._pages:
            news.arm()
            began = time.time()
            self._tell(self._events.read())
            self._events.done()
            self._pages.seen_until = began
            self._wait(news)

    def _tell(self, symbols: Mapping[str, bool]) -> None:
        """Send what has changed. True for a symbol: its price may have changed."""
        audience = logged_in(self._pages.showing(symbols)) if symbols else []
        priced = {symbol for symbol, may_have_changed in symbols.items() if may_have_changed}
        for page, _ in audience:
            if page.stock:
                page.send([FIGURES])
        for user, pages in _portfolio_pages(audience):
            shown = frozenset().union(*(page.symbols for page in pages))
            if not shown.isdisjoint(priced):
                self._owed.add(user.pk)
            with _for_these_alone(pages):
                self._tell_user(user, pages, symbols.keys() & shown)
        self._tell_totals()

    def _tell_user(self, user: User, pages: Sequence[OpenPage], symbols: Collection[str]) -> None:
        """Send rows, and totals if they are due. Rows alone take only these holdings, once the values are known."""
        if self._are_due(user.pk):
            self._send_parts(user, pages, symbols)
        elif user.pk in self._values:
            _send(pages, rows(user, symbols, self._values[user.pk]))
        else:
            found = parts(user, symbols)
            self._values[user.pk] = found.values
            _send(pages, found.rows)

    def _send_parts(self, user: User, pages: Sequence[OpenPage], symbols: Collection[str] = ()) -> None:
        found = parts(user, symbols)
        self._owed.discard(user.pk)
        self._values[user.pk] = found.values
        self._next_totals[user.pk] = time.monotonic() + BETWEEN_TOTALS
        for page in pages:
            page.symbols = found.symbols
            page.send(found.of(page.login))

    def _are_due(self, user: int) -> bool:
        return user in self._owed and self._next_totals.get(user, 0.0) <= time.monotonic()

    def _tell_totals(self) -> None:
        due = {user for user in self._owed if self._are_due(user)}
        if due:
            self._owed -= due
            for user, pages in _portfolio_pages(logged_in([page for page in self._pages.all() if page.user in due])):
                with _for_these_alone(pages):
                    self._send_parts(user, pages)

    def _forget_absent(self) -> None:
        """Drop the state of users without an open page."""
        present = {page.user for page in self._pages.all()}
        self._next_totals = {user: at for user, at in self._next_totals.items() if user in present}
        self._values = {user: values for user, values in self._values.items() if user in present}

    def _wait(self, news: Wakeup) -> None:
        """Wait for a commit, and in the meantime for the time of the next totals or the next round."""
        time.sleep(GATHER)
        while self._pages and not news.came():
            self._pages.seen_until = time.time()
            if time.monotonic() > self._next_round:
                self._next_round = time.monotonic() + ROUND
                logged_in(self._pages.all())
                self._forget_absent()
                return
            self._tell_totals()
            _wait_for(news.sources, self._pause(news))

    def _pause(self, news: Wakeup) -> float:
        due = min((self._next_totals.get(user, 0.0) for user in self._owed), default=self._next_round)
        return max(0.0, min(news.interval, due - time.monotonic()))


def _wait_for(sources: Iterable[HasFileno], seconds: float) -> None:
    """Wait until a source is readable, for this time at most. Not `select`, which takes no file above the 1,024th."""
    poll = select.poll()
    for source in sources:
        poll.register(source, select.POLLIN)
    poll.poll(math.ceil(seconds * 1000))


@contextmanager
def _for_these_alone(pages: Iterable[OpenPage]) -> Iterator[None]:
    """End these pages after an error. They open again, and catch up. An outage of the database concerns all pages."""
    try:
        yield
    except (InterfaceError, OperationalError):
        raise
    except Exception:
        logger.exception("live updates of a user's pages failed")
        for page in pages:
            page.end()


def _portfolio_pages(audience: Audience) -> Iterable[tuple[User, list[OpenPage]]]:
    """The users with their open portfolio pages."""
    found: dict[int, tuple[User, list[OpenPage]]] = {}
    for page, user in audience:
        if not page.stock:
            found.setdefault(user.pk, (user, []))[1].append(page)
    return found.values()


def _send(pages: Iterable[OpenPage], texts: list[str]) -> None:
    for page in pages:
        page.send(texts)


listener = Listener(open_pages)
