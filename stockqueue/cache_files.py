"""A cache in files: private, bounded, and readable by this program alone because its values are JSON.

Django's own cache in files pickles its values, lists the whole folder at each write, and adds without a lock.
"""

import hashlib
import os
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache

from stockqueue.cache_values import dump, load
from stockqueue.private_files import locked

SHARDS = 256
"""Folders; the first two digits of a key's digest name its folder."""
MOST_IN_A_SHARD = 16
"""Entries of a folder. With more, the entry that expires first is removed."""
_SUFFIX = ".entry"
_FOREVER = 10 * 365 * 86_400.0


class FileCache(BaseCache):
    """A file for each entry; the file's time of modification is the entry's expiry. Raises OSError."""

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)
        self._folder = Path(location)

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        value = _read(self._file(key, version))
        return default if value is None else value

    def set(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> None:
        file = self._prepare(key, version)
        with _written(file, dump(value), self._until(timeout)) as new:
            os.replace(new, file)
        _cull(file.parent)

    def add(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Set an entry that does not exist, for one of several processes alone."""
        file = self._prepare(key, version)
        data = dump(value)
        with locked(file.parent):
            if _read(file) is not None:
                return False
            with _written(file, data, self._until(timeout)) as new:
                os.replace(new, file)
        return True

    def incr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        """Add to a stored number, which keeps its expiry. ValueError without a number."""
        file = self._file(key, version)
        try:
            with locked(file.parent), file.open("r+b", buffering=0) as opened:
                until = os.fstat(opened.fileno()).st_mtime
                value = load(opened.read()) if until > time.time() else None
                if type(value) is not int:
                    raise ValueError(f"no number is stored as {key!r}")
                # In place, because a new file for each hit would cost more than many hits save.
                opened.seek(0)
                opened.write(dump(value + delta))
                opened.truncate()
                os.utime(opened.fileno(), (until, until))
                return value + delta
        except FileNotFoundError:
            raise ValueError(f"nothing is stored as {key!r}") from None

    def delete(self, key: Any, version: int | None = None) -> bool:
        try:
            self._file(key, version).unlink()
        except FileNotFoundError:
            return False
        return True

    def clear(self) -> None:
        for file in self._folder.glob(f"*/*{_SUFFIX}"):
            file.unlink(missing_ok=True)

    def _until(self, timeout: Any) -> float:
        seconds = self.default_timeout if timeout is DEFAULT_TIMEOUT else timeout
        return time.time() + (_FOREVER if seconds is None else seconds)

    def _file(self, key: Any, version: int | None) -> Path:
        digest = hashlib.sha256(self.make_key(key, version=version).encode()).hexdigest()
        shard = int(digest[:8], 16) % SHARDS
        return self._folder / f"{shard:02x}" / f"{digest[8:48]}{_SUFFIX}"

    def _prepare(self, key: Any, version: int | None) -> Path:
        """The file of a key, in an existing private folder."""
        file = self._file(key, version)
        try:
            file.parent.mkdir(mode=0o700)
        except FileExistsError:
            return file
        except FileNotFoundError:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            file.parent.mkdir(mode=0o700, exist_ok=True)
        state = self._folder.stat()
        if state.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or state.st_uid != os.geteuid():
            raise PermissionError(f"{str(self._folder)!r}: other users may write there")
        return file


def _read(file: Path) -> Any:
    """The value of a file; None for an expired, unreadable or missing entry."""
    try:
        with file.open("rb") as opened:
            expired = os.fstat(opened.fileno()).st_mtime <= time.time()
            return None if expired else load(opened.read())
    except FileNotFoundError:
        return None


class _written:
    """A new file with the data beside `file`. At the end of the block it is gone, renamed or not."""

    def __init__(self, file: Path, data: bytes, until: float) -> None:
        self._file, self._data, self._until = file, data, until

    def __enter__(self) -> str:
        descriptor, self._new = tempfile.mkstemp(dir=self._file.parent, prefix=".")
        try:
            with open(descriptor, "wb") as opened:
                opened.write(self._data)
            os.utime(self._new, (self._until, self._until))
        except BaseException:
            self.__exit__()
            raise
        return self._new

    def __exit__(self, *_error: object) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self._new)


def _cull(shard: Path) -> None:
    """Remove the entries that expire first, down to MOST_IN_A_SHARD; the remains of a killed process go first."""
    with os.scandir(shard) as entries:
        files = [(entry.name.endswith(_SUFFIX) and _expiry_of(entry), entry.path) for entry in entries]
    for _expiry, path in sorted(files)[: max(0, len(files) - MOST_IN_A_SHARD)]:
        with suppress(FileNotFoundError):
            os.unlink(path)


def _expiry_of(entry: "os.DirEntry[str]") -> float:
    try:
        return entry.stat().st_mtime
    except FileNotFoundError:
        return 0.0
