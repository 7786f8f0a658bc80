"""Locks shared by all processes until the end of a transaction."""

from django.db import connection


def lock(name: str) -> None:
    """Acquire the lock `name`, waiting for other holders, and keep it until the transaction ends.

    On SQLite there is nothing to do: a transaction begins IMMEDIATE, and is therefore the only writer.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"stockqueue {name}"])
