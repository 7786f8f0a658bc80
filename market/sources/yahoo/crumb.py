"""The crumb that Yahoo expects with quotes and summaries, shared by all processes of a machine.

yfinance shares its cookie in a file, and asks for a crumb in each process. A crumb belongs to a cookie.
"""

import hashlib
import json
import logging
import os
import re
import time
from contextlib import suppress
from pathlib import Path

logger = logging.getLogger(__name__)

LASTS = 6 * 3600.0
"""Seconds after which a crumb is asked for again, well before Yahoo refuses it."""
RENEWED_BEFORE = 1800.0
"""Seconds before a crumb becomes too old in which a schedule renews it, so that no login has to."""
_CRUMB = re.compile(r"[\x21-\x7e]{5,64}")


def is_crumb(text: str) -> bool:
    """Whether an answer is a crumb: a short word, and no page."""
    return _CRUMB.fullmatch(text) is not None and "<" not in text


class SharedCrumb:
    """A file with the newest crumb. A missing or unreadable file is no error: a new crumb is asked for."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def read(self, cookie: str) -> str | None:
        """The crumb of the cookie; None if there is none, or if it is too old."""
        try:
            known = json.loads(self._file.read_text(encoding="utf-8"))
            is_ours = known["cookie"] == _digest(cookie) and 0 <= time.time() - known["at"] < LASTS
            crumb = known["crumb"]
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return crumb if is_ours and isinstance(crumb, str) and is_crumb(crumb) else None

    def needs_renewal(self) -> bool:
        """Whether there is no crumb, or only a crumb that becomes too old soon."""
        try:
            age = time.time() - json.loads(self._file.read_text(encoding="utf-8"))["at"]
        except (OSError, ValueError, TypeError, KeyError):
            return True
        return not 0 <= age < LASTS - RENEWED_BEFORE

    def write(self, cookie: str, crumb: str) -> None:
        """Replace the file at once, so that no process reads half of it."""
        new = self._file.with_name(f"{self._file.name}.{os.getpid()}")
        content = {"cookie": _digest(cookie), "crumb": crumb, "at": time.time()}
        try:
            with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
                json.dump(content, file)
            new.replace(self._file)
        except OSError as error:
            logger.warning("the crumb is not shared with other processes: %s", error)

    def forget(self) -> None:
        """Remove a crumb that Yahoo has refused."""
        with suppress(OSError):
            self._file.unlink(missing_ok=True)


def _digest(cookie: str) -> str:
    return hashlib.sha256(cookie.encode()).hexdigest()
