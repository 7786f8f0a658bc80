"""The lease of the bridge: only its holder publishes. Another bridge takes over if the holder ends, dies or hangs."""

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
"""Seconds between two renewals."""
EXPIRES = 20.0
"""Seconds without a renewal after which other bridges consider the holder hung."""
_ROW = 1


class LeaseLost(Exception):
    """Another bridge took over, because this bridge did not renew its lease in time."""


class Lease:
    """This process's lease for publishing.

    The holder increments a counter, and writes no time of day: each waiting bridge measures with its own clock. A
    holder killed on this machine is replaced without waiting. Two bridges may hold the lease for a moment; then events
    arrive twice.
    """

    def __init__(self) -> None:
        self.holder = f"{socket.gethostname()}:{os.getpid()}"
        self._held = False
        self._renewed = 0.0
        self._seen: tuple[int, float] = -1, 0.0
        """The last seen number of renewals, and the local time at which this number was new."""

    def acquire(self) -> bool:
        """Take the lease if it is free, or if its holder is gone. Return whether this process has it."""
        row, _ = BridgeLease.objects.get_or_create(pk=_ROW)
        if row.holder and not _is_gone(row) and not self._has_expired(row):
            return False
        free = BridgeLease.objects.filter(pk=_ROW, renewals=row.renewals)
        self._held = self._write(free, holder=self.holder, place=_place(), pid=os.getpid())
        if self._held and row.holder:
            logger.warning("took over from %s", row.holder)
        return self._held

    def keep(self) -> None:
        """Renew the lease if a renewal is due. Raise LeaseLost."""
        if time.monotonic() - self._renewed < RENEW:
            return
        if not self._write(self._ours()):
            self._held = False
            raise LeaseLost

    def release(self) -> None:
        """Release the lease for another bridge at once. No effect for a process without the lease."""
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
    """The time since the last renewal by a publishing bridge, by the database's clock; None: never.

    Negative if the clock was set back since then.
    """
    row = BridgeLease.objects.filter(pk=_ROW).annotate(now=Now()).values_list("now", "renewed_at").first()
    if row is None or row[1] is None:
        return None
    return row[0] - row[1]


def _is_gone(row: BridgeLease) -> bool:
    """Whether the holder ran on this machine, and has ended. After a restart, this process may reuse its number."""
    if row.place != _place() or not row.place:
        return False
    if row.pid == os.getpid():
        return True
    try:
        os.kill(row.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # a process of another user
        return False
    return False


def _place() -> str:
    """The running kernel and the namespace of its process numbers; empty if the system does not reveal them."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    return ""
