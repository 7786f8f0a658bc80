"""Sessions in the database."""

import re

from django.contrib.sessions.backends.db import SessionStore as DatabaseStore


class SessionStore(DatabaseStore):
    """Looks up only keys that a session can have: PostgreSQL takes no text with a NUL."""

    def _validate_session_key(self, key: str | None) -> bool:
        return bool(key and re.fullmatch("[a-z0-9]{8,40}", key))
