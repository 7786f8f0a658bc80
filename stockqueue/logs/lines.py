"""The format of log lines: one event per line, without control characters and secrets."""

import logging
import re
import time
from collections.abc import Collection

SHORTEST_SECRET = 8
"""Shorter known secrets are not replaced: they may be words."""

LONGEST_TEXT = 32_768
"""Longer messages and tracebacks are cut, in characters. Users and servers decide the length of some texts."""

_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that end a line somewhere, move a terminal's cursor, reverse text, or are not UTF-8."""

_HINTS = ("://", "key", "pass", "pwd", "secret", "token", "session", "auth", "cookie", "bearer", "sk-")
"""A text without any of these hints has no secret that a pattern would find."""

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
    list of messages, each for its own line.
    """

    def __init__(self, secrets: Collection[str] = ()) -> None:
        """`secrets`: texts that must not appear in any line."""
        super().__init__()
        self._known = [secret for secret in secrets if len(secret) >= SHORTEST_SECRET]
        self._second = (0, "")

    def format(self, record: logging.LogRecord) -> str:
        line: str | None = record.__dict__.get("line")
        if line is None:  # otherwise an earlier handler has made the line
            line = record.__dict__["line"] = self._write(record)
        return line

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """Cached, because most lines are of the same second as the line before."""
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
    """The first LONGEST_TEXT characters of `text`, and a note with the number of missing characters.

    The cut is between two words: half a secret might not look like a secret.
    """
    if len(text) <= LONGEST_TEXT:
        return text, ""
    found = _WHOLE_WORDS.match(text, 0, LONGEST_TEXT)
    kept = found[0] if found else ""
    return kept, f"… ({len(text) - len(kept):,} characters cut)"


def redact(text: str) -> str:
    """`text` with *** in place of passwords, keys, sessions and headers with credentials."""
    lower = text.lower()
    if any(hint in lower for hint in _HINTS):
        if "://" in text:
            text = _WORD.sub(_without_password, text)
        for pattern, replacement in _SECRETS:
            text = pattern.sub(replacement, text)
    return text


def _without_password(word: re.Match[str]) -> str:
    """The word with *** for the password of a URL. The last @ ends the password, which may contain any character."""
    head, _, tail = word[0].rpartition("@")
    login = _LOGIN.search(head)
    return f"{head[: login.end()]}***@{tail}" if login else word[0]


def escape(text: str) -> str:
    """`text` in a single line: control characters are escaped as in Python, for example `\\n`."""
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
