"""Child processes that end with their parent, and their ports."""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class ProcessFailed(Exception):
    """A child process ended, or was not ready in time."""


def spawn(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
    output: IO[bytes] | int | None = None,
) -> subprocess.Popen[bytes]:
    """Start `argv` in a new session; the kernel kills the process when the calling thread ends.

    `output` receives standard output and standard error. The guarantee holds even for a parent killed with SIGKILL,
    and is bound to the calling *thread*: call `spawn` from a thread that lives as long as the child should.
    """
    parent = os.getpid()

    def die_with_parent() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the parent ended before the call above
            os._exit(1)

    return subprocess.Popen(
        [str(word) for word in argv],
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if output is not None else None,
        start_new_session=True,
        preexec_fn=die_with_parent,
    )


def stop(process: subprocess.Popen[bytes], *, grace: float = 10.0) -> int:
    """Send SIGTERM to `process`, and SIGKILL to the rest of its group after `grace` seconds; returns the exit code."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace)
    kill_group(process)
    return process.wait()


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Send SIGKILL to `process` and to all processes in its session."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def free_port() -> int:
    """A TCP port on 127.0.0.1 without a listener now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_listening(host: str, port: int, *, timeout: float = 0.5) -> bool:
    """Whether a TCP connection to `host:port` succeeds within `timeout` seconds."""
    try:
        with socket.create_connection((host, port), timeout):
            return True
    except OSError:
        return False


def wait_until(
    ready: Callable[[], bool],
    what: str,
    *,
    process: subprocess.Popen[bytes] | None = None,
    timeout: float = 30.0,
    every: float = 0.02,
) -> None:
    """Return once `ready()` is true; ProcessFailed when `process` ends first or `timeout` seconds pass.

    `every` is the number of seconds between two calls of `ready()`.
    """
    deadline = time.monotonic() + timeout
    while not ready():
        if process is not None and process.poll() is not None:
            raise ProcessFailed(f"{what} ended with exit code {process.returncode}")
        if time.monotonic() > deadline:
            raise ProcessFailed(f"{what} was not ready after {timeout:.0f} s")
        time.sleep(every)
