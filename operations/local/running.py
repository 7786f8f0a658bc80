"""Runs the processes of a deployment together, with their output in files, and notices the end of each."""

import contextlib
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from queue import SimpleQueue
from signal import SIGTERM, Signals

from django.conf import settings

from operations.local.child_processes import ProcessFailed, kill_group, spawn, stop, wait_until
from operations.local.process_plan import Deployment, log_file

FINISH_WITHIN = 35.0
"""Seconds for the workers to finish their running jobs; then they are killed."""
LAST_LINES = 20


@dataclass(frozen=True)
class Ended:
    """A process has ended."""

    name: str
    code: int


@dataclass(frozen=True)
class Answered:
    """The web server has answered."""


Happened = Signals | Ended | Answered
"""An event for the parent of the processes: a signal to itself, an end, or the first answer."""


@contextlib.contextmanager
def running(deployment: Deployment, environment: Mapping[str, str], events: "SimpleQueue[Happened]") -> Iterator[None]:
    """Run all processes until the block ends. Each end is put into `events`.

    At the end of the block, the programs are asked to end together, and then the servers. A signal among the events
    shortens the wait.
    """
    programs: dict[str, subprocess.Popen[bytes]] = {}
    with contextlib.ExitStack() as started:
        for name, argv in deployment.servers.items():
            started.callback(stop, _start(name, argv, environment, events))
        started.callback(_stop_together, programs, events)
        for name, argv in deployment.programs.items():
            programs[name] = _start(name, argv, environment, events)
        yield


def _start(
    name: str, argv: list[str], environment: Mapping[str, str], events: "SimpleQueue[Happened]"
) -> "subprocess.Popen[bytes]":
    with log_file(name).open("wb") as log:
        process = spawn(argv, env=environment, cwd=settings.BASE_DIR, output=log.fileno())
    _in_background(lambda: events.put(Ended(name, process.wait())))
    return process


def _in_background(work: Callable[[], None]) -> None:
    threading.Thread(target=work, daemon=True).start()


def _stop_together(programs: Mapping[str, "subprocess.Popen[bytes]"], events: "SimpleQueue[Happened]") -> None:
    """Ask the programs to end, and kill them after FINISH_WITHIN seconds, or at the next signal."""
    for process in programs.values():
        # Not to its children: a worker finishes the jobs that its children run.
        process.send_signal(SIGTERM)
    with contextlib.suppress(ProcessFailed):
        wait_until(
            lambda: all(process.poll() is not None for process in programs.values()) or _has_signal(events),
            "the end of the programs",
            timeout=FINISH_WITHIN,
            every=0.1,
        )
    for process in programs.values():
        kill_group(process)
        process.wait()


def _has_signal(events: "SimpleQueue[Happened]") -> bool:
    while not events.empty():
        if isinstance(events.get(), Signals):
            return True
    return False


def tell_first_answer(site: str, events: "SimpleQueue[Happened]") -> None:
    """Put `Answered` into `events` as soon as the site is served."""

    def ask() -> None:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while True:
            try:
                with opener.open(f"{site}/health/live", timeout=5):
                    events.put(Answered())
                    return
            except OSError:
                time.sleep(0.1)

    _in_background(ask)


def last_lines(name: str) -> str:
    """The end of a process's output."""
    lines = log_file(name).read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-LAST_LINES:])
