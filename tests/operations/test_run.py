"""`make run`: the whole system with one command, until Ctrl-C."""

import json
import os
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from fixtures.generate import STOCKS
from operations.local.child_processes import ProcessFailed, free_port, spawn, wait_until
from operations.local.http_client import Browser
from operations.local.mqtt_subscriber import Subscriber
from tests.conftest import ROOT
from tests.operations.test_demo import processes_that_know
from tests.stockqueue.test_private_files import open_files

pytestmark = [
    pytest.mark.skipif("config.getoption('--database') != 'sqlite'", reason="the embedded database is SQLite"),
    pytest.mark.servers,
]

UNREACHABLE = {"YAHOO_PROXY": "http://127.0.0.1:9"}


class System:
    """A running system, with its terminal in a file."""

    def __init__(self, process: "subprocess.Popen[bytes]", http: int, mqtt: int, var: Path, terminal: Path) -> None:
        self.process, self.http, self.mqtt, self.var = process, http, mqtt, var
        self.site = f"http://127.0.0.1:{http}"
        self._terminal = terminal

    @property
    def said(self) -> list[str]:
        """The lines on its terminal."""
        return self._terminal.read_text().splitlines()

    def log(self, name: str) -> str:
        return (self.var / "logs" / "output" / f"{name}.log").read_text()

    def wait(self) -> int:
        return self.process.wait(60)


Run = Callable[..., AbstractContextManager[System]]


@pytest.fixture
def run(tmp_path) -> Run:
    """run(**environment): the system in a folder of the test, once it has printed its address."""

    @contextmanager
    def run(**environment: str) -> Iterator[System]:
        http, mqtt = free_port(), free_port()
        var, terminal = tmp_path / "var", tmp_path / "terminal"
        own = {key: value for key, value in os.environ.items() if key != "DATABASE_URL"}
        own |= {"STOCKQUEUE_VAR": str(var), "MQTT_URL": f"mqtt://127.0.0.1:{mqtt}", **environment}
        with terminal.open("wb") as output:
            command = f'umask 000; exec "{sys.executable}" manage.py run --port {http}'
            process = spawn(["sh", "-c", command], cwd=ROOT, env=own, output=output.fileno())
        system = System(process, http, mqtt, var, terminal)
        try:
            wait_until(lambda: f"{system.site}/" in system.said, f"{terminal}", process=process, timeout=120)
            yield system
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(60)
            print(terminal.read_text())

    return run


def test_the_whole_system_runs_until_ctrl_c_and_finishes_what_it_has_begun(yahoo, run, tmp_path):
    yahoo.serve(*STOCKS)
    with run(**yahoo.server.environment) as system:
        assert "sample" not in "".join(system.said)
        with Subscriber("127.0.0.1", system.mqtt, "stock/+/+") as seen:
            yahoo.server.hold_back()
            Browser(system.site).log_in("demo", "demo")
            begun = yahoo.server.wait_for_requests(yahoo.seen_before + 1, timeout=60)[yahoo.seen_before :]
            system.process.send_signal(signal.SIGINT)
            wait_until(lambda: "Warm shutdown" in system.log("foreground"), "the workers to be asked to end")
            assert stat.S_ISSOCK((system.var / "redis.sock").stat().st_mode)
            assert open_files(system.var) == {}
            yahoo.server.release()
            assert system.wait() == 0
            events = [json.loads(message.payload) for message in seen.messages]
    created = [event["symbol"] for event in events if event["event"] == "created"]
    assert sorted(created) == sorted(STOCKS)
    # The address is the last line before the end, and processes say nothing on the terminal.
    assert system.said[-2:] == [
        f"{system.site}/",
        "Stopping: running jobs are finished first. Ctrl-C again ends all at once.",
    ]
    assert len(system.said) <= 6
    for name in ("web", "foreground", "background", "beat", "bridge"):
        assert "Traceback" not in system.log(name)
    with sqlite3.connect(system.var / "stockqueue.sqlite3") as database:
        statuses = dict(database.execute("SELECT symbol, status FROM tasks_job"))
    assert statuses[begun[0].symbol] == "completed", statuses
    assert "running" not in statuses.values()
    assert processes_that_know(tmp_path) == []
    assert open_files(system.var) == {}


def test_a_second_ctrl_c_waits_for_no_job(yahoo, run, tmp_path):
    yahoo.serve(*STOCKS)
    with run(**yahoo.server.environment) as system:
        yahoo.server.hold_back()
        Browser(system.site).log_in("demo", "demo")
        yahoo.server.wait_for_requests(yahoo.seen_before + 1, timeout=60)
        system.process.send_signal(signal.SIGINT)
        wait_until(lambda: "Warm shutdown" in system.log("foreground"), "the workers to be asked to end")
        system.process.send_signal(signal.SIGINT)
        assert system.process.wait(15) == 0
    assert processes_that_know(tmp_path) == []


def test_without_yahoo_prices_are_samples_until_yahoo_is_there(yahoo, run):
    told = "Yahoo Finance could not be reached (Connection refused): "
    with run(**UNREACHABLE) as system:
        assert f"{told}prices are invented samples." in system.said
        browser = Browser(system.site)
        browser.log_in("demo", "demo")
        wait_until(lambda: sources(system.var) == {"sample"}, "the samples", timeout=60)
        assert browser.get("/").count("sample") >= len(STOCKS)
    yahoo.serve(*STOCKS)
    with run(**yahoo.server.environment) as system:
        assert any(f"Deleted the invented prices of {len(STOCKS)} stocks" in line for line in system.said)
        Browser(system.site).log_in("demo", "demo")
        wait_until(lambda: sources(system.var) == {"yahoo_finance"}, "the prices", timeout=60)
    with run(**UNREACHABLE) as system:
        assert f"{told}stored prices are shown until Yahoo answers." in system.said
    assert sources(system.var) == {"yahoo_finance"}


def sources(var: Path) -> set[str]:
    with sqlite3.connect(var / "stockqueue.sqlite3") as database:
        return {source for (source,) in database.execute("SELECT source FROM market_stock")}


def test_a_process_that_ends_is_told_with_its_last_lines_and_its_log(run, tmp_path):
    with run(**UNREACHABLE) as system:
        os.kill(pid_of(system, "run_mqtt_bridge"), signal.SIGKILL)
        assert system.wait() == 1
    log = system.var / "logs" / "output" / "bridge.log"
    (line,) = [number for number, line in enumerate(system.said) if "ended unexpectedly" in line]
    told = f"bridge ended unexpectedly (exit code -9). The last lines of {log}:"
    assert system.said[line].endswith(told)
    assert system.said[line + 1 :] == log.read_text().splitlines()[-20:]
    assert processes_that_know(tmp_path) == []


def pid_of(system: System, word: str) -> int:
    """The child of the system with this word in its command line."""
    children = Path(f"/proc/{system.process.pid}/task/{system.process.pid}/children").read_text().split()
    (pid,) = [pid for pid in children if word.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return int(pid)


def test_a_port_that_is_taken_is_said_to_be(start):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        starting = start("manage.py", "run", "--port", str(port), ready="never")
        with pytest.raises(ProcessFailed, match="exit code 1"), starting:
            pass
