"""Connections to the database with short time limits."""

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper


def impatient_connection() -> BaseDatabaseWrapper:
    """A new connection to the database: an old one tells nothing about those that others will need.

    It gives up soon, so that what was away is noticed when it is back.
    """
    ours = connection.copy()
    if ours.vendor == "postgresql":
        ours.settings_dict["OPTIONS"] |= {"connect_timeout": 2, "tcp_user_timeout": 2_000}
    return ours
