"""`make demo` as a newcomer runs it, with and without Yahoo."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from fixtures.generate import STOCKS
from tests.conftest import ROOT

pytestmark = [
    pytest.mark.skipif(
        "config.getoption('--database') != 'sqlite'", reason="the demo has a SQLite database of its own"
    ),
    pytest.mark.servers,
]


def run_demo(folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "manage.py", "demo", "--folder", folder],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=240,
    )


def stored_closes(folder: Path, symbol: str) -> dict[str, float]:
    with sqlite3.connect(folder / "stockqueue.sqlite3") as database:
        return dict(
            database.execute(
                "SELECT date, close FROM market_pricebar JOIN market_stock ON market_stock.id = stock_id"
                " WHERE symbol = ?",
                [symbol],
            )
        )


def processes_that_know(folder: Path) -> list[str]:
    """Command lines of live processes whose arguments or environment name the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            known = command + (process / "environ").read_bytes()
        except OSError:  # it has ended meanwhile, or is another user's
            continue
        if command and bytes(folder) in known:
            found.append(command.replace(b"\0", b" ").decode())
    return found


def test_the_demo_fetches_from_yahoo_what_yahoo_serves(yahoo, tmp_path):
    yahoo.serve(*STOCKS)
    demo = run_demo(tmp_path, **yahoo.server.environment)
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "sample" not in demo.stdout
    assert sorted(yahoo.asked_for()) == sorted(STOCKS)
    for symbol in STOCKS:
        served = {str(day): close for day, close in yahoo.server.closes(symbol).items()}
        stored = stored_closes(tmp_path, symbol)
        assert stored == {day: close for day, close in served.items() if day >= min(stored)}
        assert f"stock/fetch/{symbol}" in demo.stdout
    assert processes_that_know(tmp_path) == []


def test_the_demo_says_which_prices_are_samples_and_works_a_second_time(tmp_path):
    nobody = {"YAHOO_PROXY": "http://127.0.0.1:9"}
    for _ in range(2):
        demo = run_demo(tmp_path, **nobody)
        assert demo.returncode == 0, demo.stdout + demo.stderr
        assert "the prices below are invented samples" in demo.stdout
        assert demo.stdout.count(" from sample\n") == 8
        assert "nothing is stale): page after" in demo.stdout
    assert processes_that_know(tmp_path) == []


def test_a_symbol_that_yahoo_fails_for_falls_back_to_the_sample_alone(yahoo, tmp_path):
    yahoo.serve(*STOCKS)
    yahoo.misbehave("server_error", "MSFT")
    demo = run_demo(tmp_path, **yahoo.server.environment)
    assert demo.returncode == 0, demo.stdout + demo.stderr
    sources = {line.split()[0]: line.split()[-1] for line in demo.stdout.splitlines() if " fresh " in line}
    assert sources == dict.fromkeys(STOCKS, "yahoo_finance") | {"MSFT": "sample"}
