"""A log file shared and rotated by several processes."""

import fcntl
import logging
import os
import sys
from contextlib import suppress
from itertools import pairwise, takewhile
from pathlib import Path


class SharedFileHandler(logging.Handler):
    """Appends each record with a single write, and renames the file to `NAME.1` once it has `max_size` bytes.

    Linux does not mix appends of several processes to a local file. Only the rotation needs a lock. A process that
    still writes to the old file writes to `NAME.1`: nothing is lost. A lock for each record, as in
    concurrent-log-handler, takes ten times as long. `max_size` 0: no rotation; `backup_count` 0: the file is deleted
    instead of renamed.
    """

    def __init__(self, filename: str, max_size: int, backup_count: int) -> None:
        super().__init__()
        self._path = Path(filename)
        self._max_size = max_size
        self._backup_count = backup_count
        self._descriptor: int | None = None
        self._opened: tuple[int, int] | None = None
        self._complained = False

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = f"{self.format(record)}\n".encode(errors="backslashreplace")
        except Exception:  # noqa: BLE001  (of an argument's own __str__; logging must not raise)
            self.handleError(record)
            return
        try:
            os.write(self._current(), line)
            self._complained = False
        except OSError as error:
            self._complain(error)

    def close(self) -> None:
        self._close()
        super().close()

    def _current(self) -> int:
        """The descriptor of the current file, after a rotation if the file is full."""
        state = self._look()
        if state is not None and 0 < self._max_size <= state.st_size:
            self._rotate()
            state = self._look()
        if self._descriptor is None or state is None or self._opened != (state.st_dev, state.st_ino):
            self._close()
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
            state = os.fstat(self._descriptor)
            self._opened = state.st_dev, state.st_ino
        return self._descriptor

    def _look(self) -> os.stat_result | None:
        try:
            return self._path.stat()
        except FileNotFoundError:
            return None

    def _rotate(self) -> None:
        """Rename the files, unless another process has just renamed them."""
        lock = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            state = self._look()
            if state is None or state.st_size < self._max_size:
                return
            backups = [f"{self._path}.{number}" for number in range(1, self._backup_count + 1)]
            taken = list(takewhile(os.path.exists, backups))
            names = [str(self._path), *taken, *backups[len(taken) : len(taken) + 1]]
            for newer, older in reversed(list(pairwise(names))):
                with suppress(FileNotFoundError):
                    os.replace(newer, older)
            if self._backup_count == 0:
                self._path.unlink()
        finally:
            os.close(lock)

    def _complain(self, error: OSError) -> None:
        """Report missing lines on the console, once until a write succeeds. The console has the lines."""
        if not self._complained:
            self._complained = True
            print(f"{self._path}: lines are missing: {error.strerror}", file=sys.stderr)

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
