"""Notices that a new event was committed, without asking for it all the time."""

from collections.abc import Sequence
from typing import Any, Protocol

from django.db import connection

from mqtt_bridge.client import HasFileno

CHANNEL = "stockqueue_outbox"
"""What the trigger on the events notifies."""
AT_LATEST = 2.0
"""Seconds after which the outbox is looked at in any case."""


class Wakeup(Protocol):
    """Whether there may be something new. `arm` before the outbox is read; when it is empty, wait and ask `came`."""

    @property
    def sources(self) -> Sequence[HasFileno]:
        """What becomes readable then."""

    @property
    def interval(self) -> float:
        """Seconds after which to ask even if nothing became readable."""

    def arm(self) -> None: ...

    def came(self) -> bool: ...


def wakeup() -> Wakeup:
    """What there is for this database. It lasts as long as the present connection to it."""
    return _Listening() if connection.vendor == "postgresql" else _Polling()


class _Listening:
    """LISTEN on the connection that also reads the outbox.

    Behind a pooler that gives each transaction another connection nothing is heard, and the outbox is looked at every
    AT_LATEST seconds.
    """

    interval = AT_LATEST

    def __init__(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"LISTEN {CHANNEL}")
        self._postgres: Any = connection.connection
        self.sources: Sequence[HasFileno] = [self._postgres]

    def arm(self) -> None:
        self.came()

    def came(self) -> bool:
        with connection.wrap_database_errors:
            return bool(list(self._postgres.notifies(timeout=0)))  # those too that came during another query


class _Polling:
    """SQLite has a number that changes with each commit of another connection; to ask for it reads no table."""

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
