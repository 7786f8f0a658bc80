"""`make run`: the whole system with one command, until Ctrl-C."""

import json
import os
import signal
import socket
import sqlite3
import stat
import sys

import pytest

from fixtures.generate import STOCKS
from operations.local.child_processes import ProcessFailed, free_port, is_listening, spawn, wait_until
from operations.local.http_client import Browser
from operations.local.mqtt_subscriber import Subscriber
from tests.conftest import ROOT
from tests.operations.test_demo import processes_that_know
from tests.stockqueue.test_private_files import open_files

pytestmark = [
    pytest.mark.skipif("config.getoption('--database') != 'sqlite'", reason="the embedded database is SQLite"),
    pytest.mark.servers,
]


def test_the_whole_system_runs_until_ctrl_c_and_finishes_what_it_has_begun(yahoo, tmp_path):
    yahoo.serve(*STOCKS)
    http, mqtt = free_port(), free_port()
    var = tmp_path / "var"
    own = {key: value for key, value in os.environ.items() if key != "DATABASE_URL"}
    own |= {"STOCKQUEUE_VAR": str(var), "MQTT_URL": f"mqtt://127.0.0.1:{mqtt}", **yahoo.server.environment}
    log = tmp_path / "run.log"
    with log.open("wb") as output:
        command = f'umask 000; exec "{sys.executable}" manage.py run --port {http}'
        system = spawn(["sh", "-c", command], cwd=ROOT, env=own, output=output.fileno())
    try:
        wait_until(
            lambda: is_listening("127.0.0.1", mqtt) and is_listening("127.0.0.1", http),
            f"{log}",
            process=system,
            timeout=120,
        )
        with Subscriber("127.0.0.1", mqtt, "stock/+/+") as seen:
            yahoo.server.hold_back()
            Browser(f"http://127.0.0.1:{http}").log_in("demo", "demo")
            begun = yahoo.server.wait_for_requests(yahoo.seen_before + 1, timeout=60)[yahoo.seen_before :]
            system.send_signal(signal.SIGINT)
            wait_until(lambda: b"Warm shutdown" in log.read_bytes(), "the workers to be asked to end")
            assert stat.S_ISSOCK((var / "redis.sock").stat().st_mode)
            assert open_files(var) == {}
            yahoo.server.release()
            assert system.wait(60) == 0, log.read_text()
            events = [json.loads(message.payload) for message in seen.messages]
    finally:
        if system.poll() is None:
            system.kill()
    created = [event["symbol"] for event in events if event["event"] == "created"]
    assert sorted(created) == sorted(STOCKS)
    assert b"Traceback" not in log.read_bytes(), log.read_text()
    with sqlite3.connect(var / "stockqueue.sqlite3") as database:
        statuses = dict(database.execute("SELECT symbol, status FROM tasks_job"))
    assert statuses[begun[0].symbol] == "completed", statuses
    assert "running" not in statuses.values()
    assert processes_that_know(tmp_path) == []
    assert open_files(var) == {}


def test_a_port_that_is_taken_is_said_to_be(tmp_path, start):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        starting = start("manage.py", "run", "--port", str(port), ready="never")
        with pytest.raises(ProcessFailed, match="exit code 1"), starting:
            pass
