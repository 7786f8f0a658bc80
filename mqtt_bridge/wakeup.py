"""Detects the commit of new events without frequent queries of the outbox."""

from collections.abc import Sequence
from typing import Any, Protocol

from django.db import connection

from mqtt_bridge.client import HasFileno

CHANNEL = "stockqueue_outbox"
"""The channel of the trigger on the table of events."""
LONGEST_INTERVAL = 2.0
"""The longest time in seconds between two queries of the outbox."""


class Wakeup(Protocol):
    """Detects new events. Call `arm` before reading the outbox; if the outbox is empty, wait and call `came`."""

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


def wake_bridge() -> None:
    """Make the bridge read the outbox after the commit. On SQLite, the commit itself wakes it."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"NOTIFY {CHANNEL}")


class _Listening:
    """LISTEN on the connection that also reads the outbox.

    Behind a pooler that changes the connection at each transaction, no notification arrives, and the outbox is read
    every LONGEST_INTERVAL seconds.
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
