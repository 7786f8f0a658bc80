"""Permissions of files written by the programs: the files contain users' password hashes and sessions."""

import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stockqueue.config import ConfigError

FORBIDDEN = 0o027
"""Permissions forbidden for all files: writing for the group, and everything for other users."""

_MARKS = ("stockqueue.sqlite3", "static", "logs")
"""Names in the folder of an installation. A folder without them belongs to other programs."""


def restrict_umask() -> None:
    """Create files of this process and its children with 0640 at most, whatever the umask was."""
    os.umask(os.umask(FORBIDDEN) | FORBIDDEN)


def make_private(folder: Path, *, is_ours: bool) -> str | None:
    """Create `folder` with the mode 0700, or correct the modes of an existing folder and its files.

    Raise ConfigError for a folder of other programs, unless `is_ours`. Return a warning if other users can still read
    the folder.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    state = folder.stat()
    if not state.st_mode & 0o077:
        return None
    named = f"STOCKQUEUE_VAR: {str(folder)!r}"
    is_owner = state.st_uid == os.geteuid()
    if state.st_mode & stat.S_IWOTH and (state.st_mode & stat.S_ISVTX or not is_owner):
        raise ConfigError(f"{named}: all users may write there; expected a folder for this program alone")
    if is_owner:
        if not is_ours and not _is_installation(folder):
            raise ConfigError(f"{named} has files of other programs; expected a new folder, or one with the mode 0700")
        _restrict(folder, state.st_uid)
    if folder.stat().st_mode & 0o007:
        return f"{named}: all users may read it, and its mode cannot be changed; its owner can: chmod 0700"
    return None


def _is_installation(folder: Path) -> bool:
    """Whether the folder is empty, or has files of this program."""
    names = set(os.listdir(folder))
    return not names or not names.isdisjoint(_MARKS)


def _restrict(folder: Path, owner: int) -> None:
    """Change modes where the file system has modes. Files of running programs may disappear meanwhile."""
    with suppress(OSError):
        folder.chmod(0o700)
    for place, folders, files in os.walk(folder):
        for name in folders + files:
            path = Path(place, name)
            with suppress(OSError):
                state = path.lstat()
                if state.st_uid == owner and state.st_mode & FORBIDDEN and not stat.S_ISLNK(state.st_mode):
                    path.chmod(stat.S_IMODE(state.st_mode) & ~FORBIDDEN)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a lock on `folder` during the block. Other processes wait for the lock."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def short_folder(link: Path) -> Path:
    """A private folder with a short path, in the temporary folder. All processes use the symbolic link `link` to it.

    The name is random. A missing folder, or a folder open to other users, is replaced by a new folder.
    """
    with locked(link.parent):
        with suppress(OSError):
            found = link.readlink()
            state = found.lstat()
            if stat.S_ISDIR(state.st_mode) and state.st_uid == os.geteuid() and not state.st_mode & 0o077:
                return found
        link.unlink(missing_ok=True)
        made = Path(tempfile.mkdtemp(prefix="stockqueue-"))
        link.symlink_to(made)
        return made
