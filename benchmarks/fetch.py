"""Symbols a minute that one worker fetches and stores in a batch, against yfinance alone in the same run.

200 symbols, 200 ms for each of Yahoo's answers, 4 and 20 at a time, with and without their time zones in yfinance's
cache. Our figures are of whole jobs, with bars and events in the database, from their start to their end.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Without DEBUG, which makes Django keep every statement in memory.
os.environ |= {"DJANGO_DEBUG": "0", "DJANGO_SECRET_KEY": "benchmark " * 6, "DJANGO_ALLOWED_HOSTS": "127.0.0.1"}

import django
import yaml

django.setup()

import psutil
from celery import current_app
from django.conf import settings
from django.core.management import call_command
from django.db import connection

from benchmarks.options import Options
from benchmarks.report import Spread, publish
from market.models import Stock
from operations.local.child_processes import spawn, stop, wait_until
from tasks.delivery import direct
from tasks.delivery.dispatch import dispatch
from tasks.enqueue import JobSpec, enqueue
from tasks.models import Job
from tests.support.standins.yahoo import YahooStandIn, daily_bars

ROOT = Path(__file__).parents[1]
LATENCY = 0.2
WORDS = ("-A", "stockqueue", "worker", "-Q", "background_fetch", "-c", "1", "-n", "fetch@%h", "--loglevel", "WARNING")


def main() -> None:
    options = Options("fetch", __doc__)
    options.add_size("runs", "repetitions", 3, smallest=1)
    options.add_size("symbols", "symbols in a batch", 200, smallest=4)
    options.add_sizes("threads", "symbols at a time", [4, 20], smallest=[4])
    arguments = options.parse()
    direct.configure(None, None)
    call_command("migrate", verbosity=0)
    with YahooStandIn(latency=LATENCY) as yahoo:
        yahoo.serve("WARMUP", daily_bars("WARMUP", 30))
        for threads in arguments.threads:
            compare(yahoo, threads, arguments.symbols, arguments.runs)


def compare(yahoo: YahooStandIn, threads: int, count: int, runs: int) -> None:
    """One table: what each way does, cold and warm, and our ratio to the bare pool and to `download` in each run."""
    figures: dict[str, list[float]] = {}
    methods = ["pool", "download"] + (["sequential"] if threads == 4 else [])
    for run in range(runs):
        rates: dict[tuple[str, str], float] = {}
        for method in [*methods, "ours"]:
            symbols = [f"{method[0].upper()}{threads}R{run}N{number}" for number in range(count)]
            for symbol in symbols:
                yahoo.serve(symbol, daily_bars(symbol, 30))
            timed = fetch_ours if method == "ours" else fetch_bare
            for state, (seconds, cpu) in zip(("cold", "warm"), timed(yahoo, method, threads, symbols), strict=True):
                rates[method, state] = count / seconds * 60
                figures.setdefault(f"{method}, {state}: symbols a minute", []).append(rates[method, state])
                figures.setdefault(f"{method}, {state}: ms of CPU a symbol", []).append(cpu / count * 1000)
        for state in ("cold", "warm"):
            for method in methods:
                ratio = rates["ours", state] / rates[method, state]
                figures.setdefault(f"ours against {method}, {state}", []).append(ratio)
    publish(
        f"fetch-{threads}-{connection.vendor}",
        f"{count} symbols, {threads} at a time, {LATENCY} s an answer ({connection.vendor})",
        "symbols a minute, ms, and ratios",
        {name: Spread.of(values) for name, values in sorted(figures.items())},
    )


def fetch_bare(yahoo: YahooStandIn, method: str, threads: int, symbols: list[str]) -> list[tuple[float, float]]:
    """Seconds, and seconds of CPU, of yfinance alone: with an empty cache of time zones, then with a full one."""
    cache = settings.VAR / f"{method}-{symbols[0]}"
    cache.mkdir()
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.bare_fetch", method, str(threads)],
        input=(" ".join(symbols) + "\n") * 2,
        env=os.environ | yahoo.environment | {"YFINANCE_CACHE": str(cache)},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    timed = [json.loads(line) for line in ended.stdout.splitlines()]
    assert {one["bars"] for one in timed} == {timed[0]["bars"]}, timed
    return [(one["seconds"], one["cpu"]) for one in timed]


def fetch_ours(yahoo: YahooStandIn, _method: str, threads: int, symbols: list[str]) -> list[tuple[float, float]]:
    """The same of one worker of one process that does a batch."""
    stocks = Stock.objects.bulk_create(Stock(symbol=symbol) for symbol in ["WARMUP", *symbols])
    timed = []
    with worker(yahoo, threads) as process:
        fetch_batch(process, ["WARMUP"])
        for _state in ("cold", "warm"):
            timed.append(fetch_batch(process, symbols))
            Stock.objects.update(checked_at=None)
    Stock.objects.filter(pk__in=[stock.pk for stock in stocks]).delete()
    return timed


def fetch_batch(process: psutil.Process, symbols: list[str]) -> tuple[float, float]:
    wanted = JobSpec(Job.Type.STOCK_BATCH_FETCH, f"batch of {symbols[0]}", parameters={"symbols": symbols, "days": 30})
    before = cpu_of(process)
    enqueue([wanted], Job.Trigger.SCHEDULED_UPDATE)
    dispatch("background_fetch")
    wait_until(lambda: not Job.objects.active().exists(), "the batch", timeout=600, every=0.2)
    job = Job.objects.order_by("-created_at")[0]
    assert job.status == Job.Status.COMPLETED, job.error
    assert job.started_at
    assert job.finished_at
    return (job.finished_at - job.started_at).total_seconds(), cpu_of(process) - before


def cpu_of(process: psutil.Process) -> float:
    """Seconds of CPU that a worker and its children have used."""
    times = [one.cpu_times() for one in [process, *process.children(recursive=True)]]
    return float(sum(one.user + one.system for one in times))


@contextmanager
def worker(yahoo: YahooStandIn, threads: int) -> Iterator[psutil.Process]:
    """The shipped worker of one process, with `concurrency` as given."""
    content = yaml.safe_load(Path(os.environ["STOCKQUEUE_CONFIG"]).read_text())
    content["job_processor"]["stock_jobs"]["data_fetch"]["concurrency"] = threads
    file = settings.VAR / f"concurrency-{threads}.yml"
    file.write_text(yaml.safe_dump(content))
    with (settings.VAR / "worker.log").open("ab") as log:
        process = spawn(
            [sys.executable, "-m", "celery", *WORDS],
            cwd=ROOT,
            env=os.environ | yahoo.environment | {"STOCKQUEUE_CONFIG": str(file)},
            output=log.fileno(),
        )
        try:
            name = f"fetch@{os.uname().nodename}"
            ping = current_app.control.ping
            wait_until(lambda: bool(ping(timeout=0.5, destination=[name])), name, process=process, timeout=60)
            yield psutil.Process(process.pid)
        finally:
            stop(process, grace=40)


if __name__ == "__main__":
    main()
