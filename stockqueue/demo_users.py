"""The users of `loaddata demo`. Their passwords are public: each is the name of its user."""

import sys
from contextlib import closing

from django.conf import settings
from django.contrib.auth.hashers import check_password
from django.db import Error

from stockqueue.database import impatient_connection

NAMES = ("admin", "demo")


def has_public_password(username: str | None, password: str | None) -> bool:
    """Whether the name and the password are the login of a demo user."""
    return username in NAMES and password == username


def refuse_demo_users() -> None:
    """End the program if DJANGO_DEBUG is off and a demo user can log in with the public password.

    If the database does not answer, the program starts: the login refuses demo users, too.
    """
    if settings.DEBUG:
        return
    try:
        found = _demo_users()
    except Error:
        return
    if found:
        sys.exit(
            f"database: demo users have their public passwords ({', '.join(found)}), and DJANGO_DEBUG is off; "
            f"change the passwords (manage.py changepassword {found[0]}), or delete the users"
        )


def _demo_users() -> list[str]:
    with closing(impatient_connection()) as ours, ours.cursor() as cursor:
        cursor.execute("SELECT username, password FROM auth_user WHERE is_active AND username IN (%s, %s)", NAMES)
        return sorted(name for name, encoded in cursor.fetchall() if check_password(name, encoded))
