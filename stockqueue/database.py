"""Connections to the database with short time limits."""

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper


def impatient_connection() -> BaseDatabaseWrapper:
    """A new connection to the database with short timeouts, for checking whether new connections are possible.

    A connection attempt gives up soon, so that the end of an outage is noticed.
    """
    ours = connection.copy()
    if ours.vendor == "postgresql":
        ours.settings_dict["OPTIONS"] |= {"connect_timeout": 2, "tcp_user_timeout": 2_000}
    return ours
