"""Database connections of workers, which keep a connection from one task to the next."""

import select
from typing import Any

from django.db import connections


def close_lost_connections(**_signal: object) -> None:
    """Close this thread's connections that failed, are older than CONN_MAX_AGE, or were ended by the server.

    Django's CONN_HEALTH_CHECKS alone would query the server before each task, which takes a tenth of the time of a
    short job. A server that ends a connection sends a message on its socket: only connections with something to read
    are checked. A connection cut silently is not found, but is at most CONN_MAX_AGE old.
    """
    for connection in connections.all(initialized_only=True):
        if connection.vendor == "postgresql" and not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()
            is_healthy = connection.connection is None or _is_quiet(connection.connection)
            connection.health_check_done = is_healthy  # type: ignore[attr-defined]


def _is_quiet(postgres: Any) -> bool:
    """Whether the server has sent nothing since its last answer, not even the end of the connection."""
    if postgres.closed:
        return False
    socket = select.poll()
    socket.register(postgres, select.POLLIN)
    return not socket.poll(0)
