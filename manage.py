#!/usr/bin/env python
"""Django's command line for stockqueue."""

import os
import re
import sys

from django.core.management import execute_from_command_line
from django.db import InterfaceError, OperationalError, ProgrammingError


def main() -> None:
    """Run the command. A database that is away, or not migrated, is told in one line; `--traceback` shows the rest."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "stockqueue.settings")
    try:
        execute_from_command_line(sys.argv)
    except (InterfaceError, OperationalError, ProgrammingError) as error:
        reason = str(error).partition("\n")[0]
        is_behind = re.search(
            r"no such (table|column)|has no column named|(relation|column) .* does not exist", reason
        )
        if "--traceback" in sys.argv or (isinstance(error, ProgrammingError) and not is_behind):
            raise
        sys.exit(f"database: {reason}{'; run python manage.py migrate to update it' if is_behind else ''}")


if __name__ == "__main__":
    main()
