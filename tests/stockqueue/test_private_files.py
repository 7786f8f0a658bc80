"""Other users of the machine read nothing that the programs write, whatever umask the programs are started with."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from stockqueue.config import ConfigError
from stockqueue.config.addresses import embedded_redis_socket
from stockqueue.private_files import make_private
from tests.conftest import ROOT
from tests.stockqueue.test_start import run


def manage(*words: str, var: Path) -> "subprocess.CompletedProcess[str]":
    """A command that is started with the umask 000 and writes below `var` alone."""
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    return subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=ROOT,
        env=environment | {"STOCKQUEUE_VAR": str(var)},
        umask=0,
        capture_output=True,
        text=True,
        timeout=120,
    )


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def open_files(var: Path) -> dict[str, str]:
    """The modes of files and folders below `var` that other users may read, or the group may change."""
    files = [path for path in var.rglob("*") if not path.is_symlink()]
    assert files
    return {str(path): f"{mode(path):o}" for path in files if mode(path) & 0o027}


@pytest.fixture
def var(tmp_path: Path) -> Path:
    """The folder of an installation that other users may read."""
    var = tmp_path / "var"
    (var / "logs").mkdir(parents=True)
    for file in (var / "stockqueue.sqlite3", var / "logs" / "mqtt.log"):
        file.touch()
        file.chmod(0o666)
    (var / "logs").chmod(0o777)
    var.chmod(0o755)
    return var


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A folder with a file of another program, that other users may read."""
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "index.html").touch()
    (shared / "index.html").chmod(0o644)
    shared.chmod(0o755)
    return shared


def test_a_new_folder_and_all_in_it_are_for_its_owner(tmp_path):
    var = tmp_path / "new" / "var"
    for words in (["migrate", "-v0"], ["collectstatic", "--noinput", "-v0"]):
        ended = manage(*words, var=var)
        assert (ended.returncode, ended.stderr) == (0, "")
    assert mode(var) == 0o700
    assert (var / "stockqueue.sqlite3").stat().st_size
    assert (var / "static" / "portfolio" / "style.css").exists()
    assert open_files(var) == {}


def test_an_existing_folder_is_taken_from_other_users(var):
    ended = manage("check", var=var)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert mode(var) == 0o700
    assert mode(var / "stockqueue.sqlite3") == 0o640
    assert open_files(var) == {}


def test_links_in_the_folder_lead_to_no_change_elsewhere(var, shared):
    (var / "logs" / "link").symlink_to(shared / "index.html")
    (var / "folder").symlink_to(shared)
    assert make_private(var, is_ours=False) is None
    assert (mode(shared), mode(shared / "index.html")) == (0o755, 0o644)


def test_a_folder_of_other_programs_is_refused_and_keeps_its_mode(shared):
    ended = run("manage.py", "check", STOCKQUEUE_VAR=str(shared))
    assert ended.returncode == 1
    assert ended.stderr == (
        f"STOCKQUEUE_VAR: {str(shared)!r} has files of other programs; "
        "expected a new folder, or one with the mode 0700\n"
    )
    assert (mode(shared), os.listdir(shared)) == (0o755, ["index.html"])


def test_a_folder_that_all_users_may_write_to_is_refused(var):
    var.chmod(0o1777)
    with pytest.raises(ConfigError, match="all users may write there"):
        make_private(var, is_ours=True)
    assert mode(var) == 0o1777


def test_a_folder_of_another_user_is_warned_of_where_all_users_may_read_it(var, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: var.stat().st_uid + 1)
    warning = make_private(var, is_ours=True)
    assert warning is not None
    assert warning.startswith(f"STOCKQUEUE_VAR: {str(var)!r}: all users may read it")
    var.chmod(0o750)
    assert make_private(var, is_ours=True) is None
    var.chmod(0o777)
    with pytest.raises(ConfigError, match="all users may write there"):
        make_private(var, is_ours=True)


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    """A folder whose path is too long for a socket in it."""
    deep = tmp_path / ("long" * 30)
    deep.mkdir(mode=0o700)
    return deep


def test_a_long_path_does_not_keep_the_embedded_redis_from_its_socket(deep):
    socket = embedded_redis_socket(deep)
    assert len(bytes(socket)) < 108
    assert mode(socket.parent) == 0o700
    assert embedded_redis_socket(deep) == socket
    other = deep / "other"
    other.mkdir()
    assert embedded_redis_socket(other).parent != socket.parent
    for folder in (socket, embedded_redis_socket(other)):
        folder.parent.rmdir()


@pytest.mark.parametrize("spoil", [lambda folder: folder.rmdir(), lambda folder: folder.chmod(0o755)])
def test_a_folder_for_the_socket_that_is_not_private_is_left_for_a_new_one(deep, spoil):
    before = embedded_redis_socket(deep).parent
    spoil(before)
    after = embedded_redis_socket(deep).parent
    assert after != before
    assert mode(after) == 0o700
    after.rmdir()
    if before.exists():
        before.rmdir()
