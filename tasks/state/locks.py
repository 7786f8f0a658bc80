"""Locks that all processes share, for as long as a transaction lasts."""

from django.db import connection


def lock(name: str) -> None:
    """Wait until nobody else holds the lock `name`, and keep it until the transaction ends.

    On SQLite there is nothing to do: a transaction begins IMMEDIATE, and so is the only one that writes.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"stockqueue {name}"])
