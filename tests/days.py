"""Runs the tests as if it were another day: `python -m tests.days [DAY …] [-- PYTEST OPTIONS]`, or `make test-days`.

The clock of pytest, of the Python programs that the tests start, and of PostgreSQL begins at noon UTC of that day and
runs on. `2026-12-25T23:50` begins at another time. Other servers and Chromium keep the machine's clock. Only the wall
clock changes: waits and time limits take as long as usual. As many days run at the same time as there are cores. The
output of each day is in `var/test-days`. A day that has passed is noted there, and is not run again until a file
changes.
"""

import argparse
import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time
from pathlib import Path

from tests.support.servers import MissingServer

ROOT = Path(__file__).parents[1]
PASSED = ROOT / "var" / "test-days"

NOON = time(12)
WITHOUT_SERVERS = "not long and not browser and not servers"
WITH_SERVERS = "not long and not browser"

DAYS = {
    date(2026, 12, 5): WITHOUT_SERVERS,  # a Saturday
    date(2026, 12, 6): WITH_SERVERS,  # a Sunday
    date(2026, 12, 7): WITH_SERVERS,  # a Monday
    date(2026, 12, 25): WITHOUT_SERVERS,
    date(2026, 12, 31): WITHOUT_SERVERS,
    date(2027, 1, 1): WITHOUT_SERVERS,
    date(2027, 1, 18): WITHOUT_SERVERS,  # Martin Luther King Day: New York is closed
    date(2027, 3, 14): WITH_SERVERS,  # New York's clocks go forward
    date(2027, 11, 7): WITHOUT_SERVERS,  # New York's clocks go back
    date(2028, 2, 29): WITHOUT_SERVERS,
}
"""Each day with the tests that run on it, as an expression of pytest's markers."""


def main(arguments: Sequence[str]) -> int:
    """Exit code 0 when the tests passed on every day, 1 when they failed on one."""
    own, separator, options = _split(arguments)
    parser = argparse.ArgumentParser(prog="python -m tests.days", description="Run the tests on chosen days.")
    parser.add_argument("days", nargs="*", type=_moment, metavar="DAY", help="2026-12-25, or 2026-12-25T23:50")
    days = parser.parse_args(own).days or [datetime.combine(day, NOON) for day in _longest_first()]
    with ThreadPoolExecutor(min(len(days), os.cpu_count() or 1)) as lanes:
        passed = list(lanes.map(lambda day: run_on(day, options, resume=not separator), days))
    failed = [day for day, has_passed in zip(days, passed, strict=True) if not has_passed]
    print(f"{len(days) - len(failed)} of {len(days)} days passed", *(f"failed: {_name(day)}" for day in failed))
    return 1 if failed else 0


def run_on(begin: datetime, options: Sequence[str], *, resume: bool) -> bool:
    """Whether the tests pass on that day. With `resume`, a day that has passed with these files is not run again."""
    note = PASSED / f"{begin:%Y-%m-%dT%H%M}-{_state_of_files()}"
    if resume and note.exists():
        print(f"{_name(begin)}: passed before")
        return True
    chosen = options or ["-q", "-m", DAYS.get(begin.date(), WITHOUT_SERVERS), "--ignore=tests/faults"]
    PASSED.mkdir(parents=True, exist_ok=True)
    log = PASSED / f"{begin:%Y-%m-%dT%H%M}.log"
    print(f"{_name(begin)}: {log.relative_to(ROOT)}", flush=True)
    with log.open("wb") as output:
        command = [sys.executable, "-m", "pytest", *chosen]
        ended = subprocess.run(command, cwd=ROOT, env=clock_at(begin), stdout=output, stderr=subprocess.STDOUT)
    summary = log.read_text(errors="replace").splitlines()[-1:]
    print(f"{_name(begin)}: {''.join(summary).strip('= ')}", flush=True)
    if ended.returncode == 0 and resume:
        note.touch()
    return ended.returncode == 0


def clock_at(begin: datetime) -> dict[str, str]:
    """The environment of a Python program whose clock stands at `begin` (UTC) when this is called."""
    ahead = begin.replace(tzinfo=UTC) - datetime.now(UTC)
    folders = [str(ROOT / "tests" / "clock"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(folders),
        "TESTS_CLOCK_LIBRARY": str(_library()),
        # An offset, and no date: otherwise the clock of each program would begin anew.
        "FAKETIME": f"{ahead.total_seconds():+.0f}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        # With Debian's default, a thread that waits for Python's global lock spins: 50 threads took 140 times as long.
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",
    }


def _longest_first() -> list[date]:
    return sorted(DAYS, key=lambda day: DAYS[day] != WITH_SERVERS)


def _moment(text: str) -> datetime:
    """A day at noon, or a day with a time."""
    return datetime.fromisoformat(text) if "T" in text else datetime.combine(date.fromisoformat(text), NOON)


def _name(begin: datetime) -> str:
    return f"{begin:%A %Y-%m-%d}" if begin.time() == NOON else f"{begin:%A %Y-%m-%d %H:%M}"


def _library() -> Path:
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        raise MissingServer("libfaketime is not installed; `make servers` installs it")
    return found[0]


def _split(arguments: Sequence[str]) -> tuple[Sequence[str], bool, Sequence[str]]:
    if "--" not in arguments:
        return arguments, False, []
    place = list(arguments).index("--")
    return arguments[:place], True, arguments[place + 1 :]


def _state_of_files() -> str:
    """A hash of all files of the checkout that are not ignored, as they are now."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    state = hashlib.sha256()
    for name in sorted(set(listed.stdout.split(b"\0")) - {b""}):
        file = ROOT / os.fsdecode(name)
        state.update(name + b"\0" + (file.read_bytes() if file.exists() else b"") + b"\0")
    return state.hexdigest()[:16]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
