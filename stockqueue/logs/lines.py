"""How a log line looks: one event a line, no control characters, no secrets."""

import logging
import re
import time
from collections.abc import Collection

SHORTEST_SECRET = 8
"""A known secret that is shorter is not looked for: it may be a word."""

LONGEST_TEXT = 32_768
"""A message or a traceback with more characters is cut. Users and servers decide how long some texts are."""

_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What ends a line somewhere, moves a terminal's cursor, turns text around, or is no UTF-8."""

_HINTS = ("://", "key", "pass", "pwd", "secret", "token", "session", "auth", "cookie", "bearer", "sk-")
"""No secret is found by its looks in a text that has none of these."""

_WHOLE_WORDS = re.compile(r"""(?:.*[\s'"])?""", re.DOTALL)
_WORD = re.compile(r"""[^\s'"]+""")
_LOGIN = re.compile("://[^:/]*:")

# Users choose part of the text, so the time for a pattern must grow no faster than the text: no pattern may search
# the rest of the text from each of its characters.
_VALUE = r"""("[^"]*(?:"|\Z)|'[^']*(?:'|\Z)|[^\s&,;'")\]}]+)"""
_SECRETS = (
    (re.compile(r"""((?:proxy-)?authorization["']?\s*[:=]\s*["']?)(?:\w+\s+)?[^\s'",]+""", re.IGNORECASE), r"\1***"),
    (re.compile(r"\b(bearer\s+)[\w.~+/=-]+", re.IGNORECASE), r"\1***"),
    (re.compile(r"""(cookie["']?\s*[:=]\s*["']?)[^\r\n'"]+""", re.IGNORECASE), r"\1***"),
    (
        re.compile(
            r"""((?:api[_-]?key|password|passwd|passphrase|pwd|secret(?:[_-]key)?|token|sessionid)["']?\s*[:=]\s*)"""
            + _VALUE,
            re.IGNORECASE,
        ),
        r"\1***",
    ),
    (re.compile(r"\bsk-[\w-]{16,}"), "***"),
)


class LineFormatter(logging.Formatter):
    """`2026-11-25 20:55:24,123 4711 INFO tasks.jobs: …`, in UTC, with the id of the process.

    A line that begins in the first column is an event; tracebacks are indented. A record's attribute `events` is a
    list of messages, each of which is written as a line of its own.
    """

    def __init__(self, secrets: Collection[str] = ()) -> None:
        """`secrets`: texts that must not appear, wherever they come from."""
        super().__init__()
        self._known = [secret for secret in secrets if len(secret) >= SHORTEST_SECRET]
        self._second = (0, "")

    def format(self, record: logging.LogRecord) -> str:
        line: str | None = record.__dict__.get("line")
        if line is None:  # or the handler before has made it already
            line = record.__dict__["line"] = self._write(record)
        return line

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """Most lines are of the same second as the one before."""
        second = int(record.created)
        known, text = self._second
        if known != second:
            text = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(second))
            self._second = second, text
        return f"{text},{int(record.msecs):03d}"

    def _write(self, record: logging.LogRecord) -> str:
        start = f"{self.formatTime(record)} {record.process} {record.levelname} {record.name}: "
        lines = [start + self._clean(message) for message in getattr(record, "events", None) or [record.getMessage()]]
        if record.exc_info:
            lines.append(self._indented(self.formatException(record.exc_info)))
        if record.stack_info:
            lines.append(self._indented(record.stack_info))
        return "\n".join(lines)

    def _indented(self, text: str) -> str:
        kept, note = cut(self._without_known(text))
        return "\n".join(f"  {escape(redact(line))}" for line in kept.split("\n")) + note

    def _clean(self, text: str) -> str:
        kept, note = cut(self._without_known(text))
        return escape(redact(kept)) + note

    def _without_known(self, text: str) -> str:
        for secret in self._known:
            text = text.replace(secret, "***")
        return text


def cut(text: str) -> tuple[str, str]:
    """The first LONGEST_TEXT characters of `text`, and a note that says how many are missing.

    The cut is between two words: half a secret might not look like a secret.
    """
    if len(text) <= LONGEST_TEXT:
        return text, ""
    found = _WHOLE_WORDS.match(text, 0, LONGEST_TEXT)
    kept = found[0] if found else ""
    return kept, f"… ({len(text) - len(kept):,} characters cut)"


def redact(text: str) -> str:
    """`text` with *** for what looks like a password, a key, a session or a header that carries one."""
    lower = text.lower()
    if any(hint in lower for hint in _HINTS):
        if "://" in text:
            text = _WORD.sub(_without_password, text)
        for pattern, replacement in _SECRETS:
            text = pattern.sub(replacement, text)
    return text


def _without_password(word: re.Match[str]) -> str:
    """The word with *** for the password of a URL, which ends at the last @: a password may hold anything."""
    head, _, tail = word[0].rpartition("@")
    login = _LOGIN.search(head)
    return f"{head[: login.end()]}***@{tail}" if login else word[0]


def escape(text: str) -> str:
    """`text` in one line: control characters as Python writes them, `\\n` say."""
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
