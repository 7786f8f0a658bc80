"""Detects the commit of new events without frequent queries of their table."""

from collections.abc import Sequence
from typing import Any, Protocol

from django.db import connection

CHANNEL = "stockqueue_outbox"
"""The channel of the trigger on the table of events."""
LONGEST_INTERVAL = 2.0
"""The longest time in seconds that the bridge goes without a query of the outbox."""


class HasFileno(Protocol):
    """An object with a file descriptor to wait for."""

    def fileno(self) -> int: ...


class Wakeup(Protocol):
    """Detects new events. Call `arm` before reading events; if there are none, wait and call `came`."""

    @property
    def sources(self) -> Sequence[HasFileno]:
        """Objects that become readable when an event may have been committed."""

    @property
    def interval(self) -> float:
        """Seconds between two calls of `came` if no source becomes readable."""

    def arm(self) -> None: ...

    def came(self) -> bool: ...


def wakeup() -> Wakeup:
    """The wakeup for this database, valid until its present connection ends."""
    return _Listening() if connection.vendor == "postgresql" else _Polling()


def wake() -> None:
    """Wake the programs that wait, after the commit. On SQLite, the commit itself wakes them."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"NOTIFY {CHANNEL}")


class _Listening:
    """LISTEN on the connection that also reads the events.

    Behind a pooler that changes the connection at each transaction, no notification arrives, and the bridge reads the
    outbox every LONGEST_INTERVAL seconds.
    """

    interval = LONGEST_INTERVAL

    def __init__(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"LISTEN {CHANNEL}")
        self._postgres: Any = connection.connection
        self.sources: Sequence[HasFileno] = [self._postgres]

    def arm(self) -> None:
        self.came()

    def came(self) -> bool:
        with connection.wrap_database_errors:
            return bool(list(self._postgres.notifies(timeout=0)))  # also notifications from other queries


class _Polling:
    """Polls SQLite's data version, which changes with each commit of another connection; reads no table."""

    sources: Sequence[HasFileno] = ()
    interval = 0.06

    def __init__(self) -> None:
        self.arm()

    def arm(self) -> None:
        self._version = self._ask()

    def came(self) -> bool:
        return self._ask() != self._version

    def _ask(self) -> int:
        connection.ensure_connection()
        with connection.wrap_database_errors:
            version: int = connection.connection.execute("PRAGMA data_version").fetchone()[0]
            return version
