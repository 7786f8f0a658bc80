"""Every benchmark works, at its smallest size and with the command of `make bench`."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import NAMES, servers
from operations.local.child_processes import spawn, stop
from tests.conftest import ROOT


def every_benchmark() -> Iterator[Any]:
    """Names, each with its databases; all but the first one of each are `long`."""
    for name in NAMES:
        first, *others = dict.fromkeys(database for database, _ in servers(name))
        yield pytest.param(name, first)
        for database in others:
            yield pytest.param(name, database, marks=pytest.mark.long)


@pytest.mark.servers
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("name", "database"), list(every_benchmark()))
def test_a_benchmark_prints_its_figures_and_writes_them(name: str, database: str, tmp_path: Path):
    results = tmp_path / "results"
    options = ["--smallest", "--database", database, "--results", str(results)]
    with (tmp_path / "output").open("w+b") as output:
        process = spawn([sys.executable, "-m", "benchmarks", name, *options], cwd=ROOT, output=output.fileno())
        try:
            process.wait()
        finally:
            stop(process)
        output.seek(0)
        printed = output.read().decode()
    assert process.returncode == 0, printed
    written = [json.loads(file.read_text()) for file in results.iterdir()]
    assert written
    for content in written:
        assert content["title"] in printed
        assert content["figures"]
        for label, figures in content["figures"].items():
            assert figures["runs"] > 0
            assert f"\n{label} " in printed
