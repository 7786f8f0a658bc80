"""One bridge publishes at a time; another one takes over when it ends, dies or hangs."""

import logging
import os
import socket
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from django.db.models import F, QuerySet
from django.db.models.functions import Now

from mqtt_bridge.models import BridgeLease

logger = logging.getLogger(__name__)

RENEW = 5.0
"""Seconds between two signs of life."""
EXPIRES = 20.0
"""Seconds without a sign of life after which the others take the holder for hung."""
_ROW = 1


class LeaseLost(Exception):
    """Another bridge took over, because it did not hear from this one for too long."""


class Lease:
    """This process's claim to be the one that publishes.

    A counter that the holder raises, and no time of day: each one who waits measures with a clock of its own. A holder
    that was killed on this machine is not waited for. Two may hold it for a moment; then events arrive twice.
    """

    def __init__(self) -> None:
        self.holder = f"{socket.gethostname()}:{os.getpid()}"
        self._held = False
        self._renewed = 0.0
        self._seen: tuple[int, float] = -1, 0.0
        """How often the holder had renewed it when that number was new, and when that was."""

    def acquire(self) -> bool:
        """Take it where it is free, or where its holder is gone; whether this process has it."""
        row, _ = BridgeLease.objects.get_or_create(pk=_ROW)
        if row.holder and not _is_gone(row) and not self._has_expired(row):
            return False
        free = BridgeLease.objects.filter(pk=_ROW, renewals=row.renewals)
        self._held = self._write(free, holder=self.holder, place=_place(), pid=os.getpid())
        if self._held and row.holder:
            logger.warning("took over from %s", row.holder)
        return self._held

    def keep(self) -> None:
        """Give a sign of life, if it is time for one. LeaseLost."""
        if time.monotonic() - self._renewed < RENEW:
            return
        if not self._write(self._ours()):
            self._held = False
            raise LeaseLost

    def release(self) -> None:
        """Let another one have it at once. Without effect where this process does not hold it."""
        if self._held:
            self._held = False
            self._write(self._ours(), holder="")

    def _ours(self) -> QuerySet[BridgeLease]:
        return BridgeLease.objects.filter(pk=_ROW, holder=self.holder)

    def _write(self, rows: QuerySet[BridgeLease], **values: object) -> bool:
        self._renewed = time.monotonic()
        return rows.update(renewals=F("renewals") + 1, renewed_at=Now(), **values) == 1

    def _has_expired(self, row: BridgeLease) -> bool:
        number, since = self._seen
        if number != row.renewals:
            self._seen = row.renewals, time.monotonic()
            return False
        return time.monotonic() - since > EXPIRES


def last_seen() -> timedelta | None:
    """How long ago a bridge that publishes gave a sign of life, by the database's clock; None: never.

    Negative where that clock was set back since then.
    """
    row = BridgeLease.objects.filter(pk=_ROW).annotate(now=Now()).values_list("now", "renewed_at").first()
    if row is None or row[1] is None:
        return None
    return row[0] - row[1]


def _is_gone(row: BridgeLease) -> bool:
    """Whether the holder ran here, and has ended. This process may have its number, after a restart."""
    if row.place != _place() or not row.place:
        return False
    if row.pid == os.getpid():
        return True
    try:
        os.kill(row.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # another user's
        return False
    return False


def _place() -> str:
    """The running kernel and the namespace of its process numbers; empty where the system does not tell."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    return ""
