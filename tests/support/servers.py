"""Real servers for tests and benchmarks: private, on 127.0.0.1, with a folder that is thrown away."""

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

import psycopg

from operations.local.child_processes import (
    ProcessFailed,
    free_port,
    is_listening,
    kill_group,
    spawn,
    stop,
    wait_until,
)
from tests.support.certificates import Authority, Certificate

_PR_SET_PDEATHSIG = 1
_IPC_RMID = 0
_libc = ctypes.CDLL(None, use_errno=True)


class MissingServer(Exception):
    """A server that the tests need is not installed."""


def find_server(name: str) -> str:
    """The path of the program `name`: on PATH, else where Debian puts servers. MissingServer otherwise."""
    versions = Path("/usr/lib/postgresql").glob("[0-9]*/bin")
    newest_first = sorted(versions, key=lambda folder: float(folder.parent.name), reverse=True)
    places = [os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin", *map(str, newest_first)]
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        raise MissingServer(f"{name} is not installed: run `make servers`")
    return found


class Server(ABC):
    """A server process on `host`:`port`. As a context manager it runs inside the block, and leaves nothing.

    `start()` after `stop()` or `kill()` uses the same port and folder. The kernel ends the process when
    the thread that called `start()` ends, however that happens: call it from a thread that lives on.
    """

    program: ClassVar[str]
    host: ClassVar[str] = "127.0.0.1"

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._paused = False

    @cached_property
    def port(self) -> int:
        return free_port()

    @cached_property
    def folder(self) -> Path:
        """Where the server keeps its data and its log, until `close()`."""
        return Path(tempfile.mkdtemp(prefix=f"stockqueue-{self.program}-"))

    @property
    def is_running(self) -> bool:
        """Whether it was started and not stopped, as far as this process did so."""
        return self._process is not None

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start, and return once it answers."""
        if self._process is not None:
            raise RuntimeError(f"{self.program} is already running")
        self._prepare()
        with (self.folder / "log").open("ab") as log:
            self._process = self._spawn(log.fileno())
        try:
            wait_until(self._answers, self.program, process=self._process)
        except ProcessFailed as failure:
            self.kill()
            raise ProcessFailed(f"{failure}\n{self.log[-2000:]}") from None

    def stop(self) -> None:
        """Let it end in good order. No effect when it does not run."""
        if self._process is not None:
            self.resume()
            self._end(self._process)
            self._process = None

    def kill(self) -> None:
        """SIGKILL for the server and its children. No effect when it does not run."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            kill_group(self._process)
            self._process.wait()
            self._process = None
            self._paused = False

    def pause(self) -> None:
        """SIGSTOP: connections stay open, and nothing is answered until `resume()`."""
        self._signal(signal.SIGSTOP)
        self._paused = True
        if self._process is not None:  # a signal takes its time to reach each thread of a busy server
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """SIGCONT. No effect when it was not paused."""
        if self._paused:
            self._signal(signal.SIGCONT)
            self._paused = False

    def close(self) -> None:
        """Stop, and throw the folder away."""
        self.stop()
        if "folder" in self.__dict__:
            shutil.rmtree(self.folder, ignore_errors=True)
            del self.folder

    @property
    @abstractmethod
    def url(self) -> str:
        """Its address, as programs are given it."""

    @abstractmethod
    def _prepare(self) -> None:
        """Write what the server reads when it starts. Called before each start."""

    @abstractmethod
    def _command(self) -> list[str]: ...

    @abstractmethod
    def _answers(self) -> bool: ...

    def _spawn(self, log: int) -> subprocess.Popen[bytes]:
        return spawn(self._command(), cwd=self.folder, output=log)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        stop(process)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise RuntimeError(f"{self.program} is not running")
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


class RedisServer(Server):
    """Redis. `persistent` keeps what it holds over stop, kill and start; without it, all is forgotten."""

    program = "redis-server"

    def __init__(self, *, persistent: bool = False) -> None:
        super().__init__()
        self.persistent = persistent

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}/0"

    def _prepare(self) -> None:
        lines = [
            f"bind {self.host}",
            f"port {self.port}",
            f"dir {self.folder}",
            'save ""',
            f"appendonly {'yes' if self.persistent else 'no'}",
            "appendfsync everysec",
        ]
        (self.folder / "redis.conf").write_text("\n".join(lines) + "\n")

    def _command(self) -> list[str]:
        return [find_server(self.program), str(self.folder / "redis.conf")]

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection((self.host, self.port), 0.5) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")  # while it loads, it answers -LOADING
        return False


class MosquittoServer(Server):
    """mosquitto. It saves its database as often as the shipped one, or with `saves=False` only when it is stopped.

    `passwords` are those of its users; without any, clients are anonymous. `acl` is the text of its ACL file, and
    `conf` has further lines for mosquitto.conf. With a `certificate` it speaks TLS, and with `clients` only to
    whom that authority has issued a certificate.
    """

    program = "mosquitto"

    def __init__(
        self,
        *,
        passwords: Mapping[str, str] | None = None,
        saves: bool = True,
        acl: str | None = None,
        certificate: Certificate | None = None,
        clients: Authority | None = None,
        conf: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.passwords = passwords or {}
        self.saves = saves
        self.acl = acl
        self.certificate = certificate
        self.clients = clients
        self.conf = conf

    @property
    def url(self) -> str:
        return f"{'mqtts' if self.certificate else 'mqtt'}://{self.host}:{self.port}"

    @property
    def database(self) -> Path:
        """The file of retained messages, sessions and their queues."""
        return self.folder / "mosquitto.db"

    def has_saved(self, payload: bytes) -> bool:
        """Whether a message with this in it is in the database."""
        return self.database.exists() and payload in self.database.read_bytes()

    def save(self) -> None:
        """Have it write its database, and return once that is on disk."""
        before = self._saved_at()
        self._signal(signal.SIGUSR1)
        wait_until(lambda: self._saved_at() != before, "mosquitto's database")

    def _saved_at(self) -> int:
        return self.database.stat().st_mtime_ns if self.database.exists() else 0

    def _prepare(self) -> None:
        lines = [
            f"listener {self.port} {self.host}",
            f"allow_anonymous {'false' if self.passwords else 'true'}",
            "persistence true",
            f"persistence_location {self.folder}/",
            "autosave_on_changes false",
            f"autosave_interval {3 if self.saves else 0}",
            "max_queued_messages 1000000",
        ]
        if os.geteuid() == 0:
            # It would become its own user, who may not enter a folder that root made.
            lines.append("user root")
        if self.passwords:
            file = self.folder / "passwords"
            file.touch(0o600)
            for user, password in self.passwords.items():
                subprocess.run([find_server("mosquitto_passwd"), "-b", file, user, password], check=True)
            lines.append(f"password_file {file}")
        if self.acl is not None:
            (self.folder / "acl").write_text(self.acl)
            lines.append(f"acl_file {self.folder}/acl")
        if self.certificate:
            lines += [f"certfile {self.certificate.file}", f"keyfile {self.certificate.key_file}"]
        if self.clients:
            lines += [f"cafile {self.clients.file}", "require_certificate true"]
        lines += self.conf
        (self.folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")

    def _command(self) -> list[str]:
        return [find_server(self.program), "-c", str(self.folder / "mosquitto.conf")]

    def _answers(self) -> bool:
        return is_listening(self.host, self.port)


def _with_clock() -> dict[str, str]:
    """The environment with the clock that `tests/days.py` chose: the database has to have the time of the programs."""
    library = os.environ.get("TESTS_CLOCK_LIBRARY")
    # The semaphore of libfaketime in this variable belongs to another user; the server needs one of its own.
    environment = {name: value for name, value in os.environ.items() if name != "FAKETIME_SHARED"}
    return environment | {"LD_PRELOAD": library} if library else environment


class PostgresServer(Server):
    """PostgreSQL with an empty database, and other `settings`. `kill()` loses nothing that was committed."""

    program = "postgres"
    database: ClassVar[str] = "stockqueue"

    def __init__(self, **settings: str) -> None:
        super().__init__()
        self.settings = settings

    @property
    def url(self) -> str:
        return self._url(self.database)

    def start(self) -> None:
        super().start()
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [self.database])
            if known.fetchone() is None:
                connection.execute(f"CREATE DATABASE {self.database}")

    def kill(self) -> None:
        super().kill()
        self._remove_shared_memory()

    def _url(self, database: str) -> str:
        return f"postgres://stockqueue@{self.host}:{self.port}/{database}"

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _prepare(self) -> None:
        if self._data.exists():
            return
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
        command = f"{find_server('initdb')} --username stockqueue --auth trust --encoding UTF8 --locale C.UTF-8"
        words = [*command.split(), "--no-sync", "--no-instructions", "--pgdata", str(self._data)]
        with (self.folder / "log").open("ab") as log:
            if self._run(words, log.fileno()).wait() != 0:
                raise ProcessFailed(f"initdb failed\n{self.log[-2000:]}")

    def _command(self) -> list[str]:
        settings = {
            "listen_addresses": self.host,
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "200",
            "fsync": "off",
            # Not in /dev/shm, where a killed server's memory would stay.
            "dynamic_shared_memory_type": "mmap",
            **self.settings,
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [find_server(self.program), "-D", str(self._data), *options]

    def _spawn(self, log: int) -> subprocess.Popen[bytes]:
        return self._run(self._command(), log)

    def _run(self, command: list[str], log: int) -> subprocess.Popen[bytes]:
        """Like `processes.spawn`, but never as root, which PostgreSQL refuses, and with an orderly death.

        Popen changes the user before it calls `preexec_fn`: the kernel clears the death signal when a
        process changes its user, so it could not be inherited through runuser. SIGQUIT is PostgreSQL's
        immediate shutdown: it ends the children and gives shared memory back, as SIGKILL would not.
        """
        parent = os.getpid()

        def die_with_parent() -> None:
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)
            if os.getppid() != parent:
                os._exit(1)

        account = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=_with_clock(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
            preexec_fn=die_with_parent,
        )

    def _answers(self) -> bool:
        try:
            psycopg.connect(self._url("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGINT)  # SIGTERM would wait for every client to leave
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()

    def _signal(self, number: signal.Signals) -> None:
        """`number` for the postmaster and its children, each of which leads a session of its own."""
        super()._signal(signal.SIGSTOP if number == signal.SIGKILL else number)  # no new child meanwhile
        if self._process is None or self._process.poll() is not None:
            return
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for process in [*map(int, children), pid]:
            with suppress(ProcessLookupError):
                os.kill(process, number)

    def _remove_shared_memory(self) -> None:
        """Give back the segment of a killed postmaster, by the key and id in its postmaster.pid."""
        with suppress(FileNotFoundError):
            for line in (self._data / "postmaster.pid").read_text().splitlines()[6:7]:
                _libc.shmctl(int(line.split()[1]), _IPC_RMID, None)
