"""What dispatch costs, and how long jobs wait, with the shipped worker's command and real servers.

Scenarios: `throughput` (against bare Celery), `waits` (foreground behind 10,000 background jobs), `receiver` (what a
login adds), `scaling` (1, 2 and 4 workers), `bulk` (requests and dispatch), `drain` (100,000 jobs).
"""

import argparse
import gc
import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml


def _write_configuration(name: str, **jobs: Any) -> str:
    """The given configuration with queues that hold everything at once, and other settings of `jobs`."""
    content = yaml.safe_load(Path(os.environ["STOCKQUEUE_CONFIG"]).read_text())
    settings = content["job_processor"]
    for queue in settings["queue"]["priority_queues"].values():
        queue |= {"max_jobs": 1_000_000, "ttl": 86_400}
    settings["jobs"] |= jobs
    file = Path(os.environ["STOCKQUEUE_VAR"], name)
    file.write_text(yaml.safe_dump(content))
    return str(file)


# Without DEBUG, which makes Django keep every statement in memory.
os.environ |= {"DJANGO_DEBUG": "0", "DJANGO_SECRET_KEY": "benchmark " * 6, "DJANGO_ALLOWED_HOSTS": "127.0.0.1"}
os.environ["STOCKQUEUE_CONFIG"] = _write_configuration("with-results.yml")
WITHOUT_RESULTS = _write_configuration("without-results.yml", keep_task_results=False)

import django

django.setup()

import psutil
from celery import current_app
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection, transaction
from django.utils import timezone
from django_celery_results.models import TaskResult

from benchmarks.bare import app as bare
from benchmarks.options import Options
from benchmarks.report import Spread, publish
from benchmarks.workers import LONGEST, celery, completed, forget_jobs, rate, send_all
from market.jobs.requests import request_fetches
from market.models import Stock
from operations.local.child_processes import wait_until
from portfolio.fetching import fetch_stale_holdings
from portfolio.models import Holding, Portfolio
from tasks.delivery import direct
from tasks.enqueue import JobSpec, enqueue
from tasks.models import Job
from tests.support.standins.yahoo import YahooStandIn, daily_bars

ANALYSIS = Job.Queue.BACKGROUND_ANALYSIS
BROKER = settings.CELERY_BROKER_URL.partition(":")[0]


def main() -> None:
    options = Options("dispatch", __doc__)
    options.add_argument("--only", choices=SCENARIOS, action="append", help="a scenario (default: all)")
    options.add_size("runs", "repetitions of throughput, scaling and bulk", 5, smallest=1)
    options.add_size("jobs", "jobs of one run of throughput", 3_000, smallest=20)
    options.add_size("background", "jobs that wait, of waits", 10_000, smallest=1_000)
    options.add_size("foreground", "jobs that come meanwhile, of waits", 200, smallest=4)
    options.add_size("logins", "logins with each number of holdings, of receiver", 30, smallest=1)
    options.add_sizes("holdings", "numbers of holdings, of receiver", [10, 100, 1_000], smallest=[10])
    options.add_sizes("workers", "numbers of workers, of scaling", [1, 2, 4], smallest=[1])
    options.add_size("symbols", "fetches of one run of scaling", 120, smallest=20)
    options.add_size("bulk", "jobs of one run of bulk", 10_000, smallest=20)
    options.add_size("drain", "jobs that drain", 100_000, smallest=100)
    arguments = options.parse()
    direct.configure(None, None)  # this process only asks
    call_command("migrate", verbosity=0)
    for name in arguments.only or SCENARIOS:
        if BROKER == "amqp" and name not in ("throughput", "waits"):
            continue
        forget_jobs()
        SCENARIOS[name](arguments)


def throughput(arguments: argparse.Namespace) -> None:
    """Jobs a second that two processes do once all messages are there, against tasks of bare Celery."""
    ratios: dict[str, list[float]] = {"ratio without TaskResults": [], "ratio with TaskResults": []}
    rates: dict[str, list[float]] = {"bare, tasks/s": [], "without TaskResults, jobs/s": [], "with, jobs/s": []}
    for _run in range(arguments.runs):
        baseline = _drain_bare(arguments.jobs)
        rates["bare, tasks/s"].append(baseline)
        for label, configuration in (("without", WITHOUT_RESULTS), ("with", os.environ["STOCKQUEUE_CONFIG"])):
            rate = _drain(arguments.jobs, configuration)
            ratios[f"ratio {label} TaskResults"].append(rate / baseline)
            rates["with, jobs/s" if label == "with" else "without TaskResults, jobs/s"].append(rate)
    _publish("throughput", "No-op jobs with all their events, against bare Celery", "ratio and rate", ratios | rates)


def _drain_bare(count: int) -> float:
    TaskResult.objects.all().delete()
    for _task in range(count):
        bare.send_task("bare.do_nothing", queue=ANALYSIS, priority=5)
    words = ("-A", "benchmarks.bare", "worker", "-Q", ANALYSIS, "-c", "2", "-n", "bare@%h")
    with celery(*words):
        return rate(TaskResult.objects.values_list("date_done", flat=True), count)


def _drain(count: int, configuration: str) -> float:
    forget_jobs()
    enqueue(numbered(count, Job.Type.STOCK_ANALYSIS), Job.Trigger.BACKGROUND_ANALYSIS)
    send_all(ANALYSIS)
    with shipped_worker(ANALYSIS, processes=2, STOCKQUEUE_CONFIG=configuration):
        return rate(completed(), count)


def waits(arguments: argparse.Namespace) -> None:
    """From the request of a foreground job to its start, while 10,000 background jobs of 50 ms wait."""
    count = arguments.foreground
    waiting = numbered(arguments.background, Job.Type.STOCK_RESEARCH, seconds=0.05)
    enqueue(waiting, Job.Trigger.BACKGROUND_ANALYSIS)
    send_all(ANALYSIS)
    with shipped_worker("foreground"), shipped_worker("background_fetch,background_analysis"):
        figures = {"shipped workers": _foreground_waits(count, pause=0.05)}
    with shipped_worker("foreground,background_fetch,background_analysis", processes=1):
        figures["one worker of one process on all queues"] = _foreground_waits(count // 2, pause=0.2)
    _publish("waits", f"A foreground job's wait behind {len(waiting)} background jobs of 0.05 s", "seconds", figures)


def _foreground_waits(count: int, *, pause: float) -> list[float]:
    """The waits of `count` jobs that come one by one, `pause` seconds apart on average."""
    wait_until(lambda: Job.objects.filter(status=Job.Status.RUNNING).exists(), "background jobs", timeout=60)
    stocks = [Stock.objects.get_or_create(symbol=f"FG{number}")[0] for number in range(count)]
    jobs = []
    for stock in stocks:
        time.sleep(random.uniform(0.4, 1.6) * pause)
        jobs += request_fetches([stock], Job.Trigger.USER_REQUEST).created
    ours = Job.objects.filter(pk__in=[job.pk for job in jobs])
    wait_until(lambda: not ours.filter(started_at=None).exists(), "the foreground jobs", timeout=60)
    return [(job.started_at - job.created_at).total_seconds() for job in ours if job.started_at]


def receiver(arguments: argparse.Namespace) -> None:
    """What the receiver of `user_logged_in` takes: all holdings stale, dispatch included, on a warm connection.

    The jobs of earlier logins have ended and stay, as in life: emptied tables would make PostgreSQL plan anew.
    """
    gc.collect()
    gc.freeze()  # as the web server does
    figures = {}
    for size in arguments.holdings:
        user = User.objects.create_user(f"holds{size}")
        portfolio = Portfolio.objects.create(user=user, name="Main")
        stocks = Stock.objects.bulk_create(Stock(symbol=f"H{size}-{number}") for number in range(size))
        Holding.objects.bulk_create(
            Holding(portfolio=portfolio, stock=stock, shares=1, buy_price=1 + number)
            for number, stock in enumerate(stocks)
        )
        times = []
        for _turn in range(arguments.logins + 1):
            end_jobs()
            began = time.perf_counter()
            fetch_stale_holdings(user)
            times.append(time.perf_counter() - began)
            assert Job.objects.active().count() == size
        figures[f"{size} holdings"] = times[1:]
    _publish("receiver", "What a login adds, with every holding stale", "seconds", figures)


def scaling(arguments: argparse.Namespace) -> None:
    """Fetches a second of 1, 2 and 4 workers of one process each, with 200 ms for each of Yahoo's answers."""
    rates: dict[int, list[float]] = {workers: [] for workers in arguments.workers}
    with YahooStandIn(latency=0.2) as yahoo:
        symbols = [f"SC{number}" for number in range(arguments.symbols)]
        for symbol in symbols:
            yahoo.serve(symbol, daily_bars(symbol, 30))
        stocks = [Stock.objects.get_or_create(symbol=symbol)[0] for symbol in symbols]
        for _run in range(arguments.runs + 1):
            for workers in rates:
                with ExitStack() as stack:
                    for number in range(workers):
                        stack.enter_context(fetcher(number, yahoo))
                    forget_jobs()
                    request_fetches(stocks, Job.Trigger.SCHEDULED_UPDATE)
                    send_all("background_fetch")
                    rates[workers].append(rate(completed(), len(stocks)))
    first, *_ = rates
    ratios = {
        f"{workers} workers against {first}": [b / a for a, b in zip(rates[first][1:], found[1:], strict=True)]
        for workers, found in rates.items()
        if workers != first
    }
    _publish(
        "scaling",
        "Workers of one process, 0.2 s an answer",
        "ratio, and fetches a second",
        ratios | {f"{workers} workers, fetches/s": found[1:] for workers, found in rates.items()},
    )


def bulk(arguments: argparse.Namespace) -> None:
    """Jobs a second that are committed as pending, and that are handed to the broker afterwards."""
    asked, sent = [], []
    for _run in range(arguments.runs):
        forget_jobs()
        wanted = numbered(arguments.bulk, Job.Type.STOCK_ANALYSIS)
        committed: list[float] = []
        began = time.perf_counter()
        with transaction.atomic():
            # Runs before what dispatches, which is registered later.
            transaction.on_commit(lambda noted=committed: noted.append(time.perf_counter()))  # type: ignore[misc]
            enqueue(wanted, Job.Trigger.BACKGROUND_ANALYSIS)
        asked.append(len(wanted) / (committed[0] - began))
        send_all(ANALYSIS)
        sent.append(len(wanted) / (time.perf_counter() - committed[0]))
    figures = {"requested and committed as pending": asked, "handed to the broker": sent}
    _publish("bulk", f"{arguments.bulk} jobs at once", "jobs a second", figures)


def drain(arguments: argparse.Namespace) -> None:
    """100,000 jobs by two processes: the rate of each tenth, and the memory of worker and children in between."""
    count = arguments.drain
    enqueue(numbered(count, Job.Type.STOCK_ANALYSIS), Job.Trigger.BACKGROUND_ANALYSIS)
    send_all(ANALYSIS)
    ends, memory = completed(), []
    with shipped_worker(ANALYSIS, processes=2, STOCKQUEUE_CONFIG=WITHOUT_RESULTS) as worker:
        process = psutil.Process(worker.pid)
        for tenth in range(1, 11):
            wait_until(lambda: ends.count() >= count * tenth // 10, f"tenth {tenth}", timeout=LONGEST)  # noqa: B023
            used = [one.memory_info().rss for one in [process, *process.children(recursive=True)]]
            memory.append(sum(used) / 1e6)
    times = sorted(ends)
    marks = [times[0], *(times[count * tenth // 10 - 1] for tenth in range(1, 11))]
    rates = [count / 10 / (end - begin).total_seconds() for begin, end in pairwise(marks)]
    _publish(
        "drain",
        f"{count} jobs that drain, tenth by tenth",
        "jobs a second, and MB",
        {
            "jobs/s of a tenth": rates,
            "last tenth against second": [rates[-1] / rates[1]],
            "MB of the worker's processes": memory,
            "memory at the end against the second tenth": [memory[-1] / memory[1]],
        },
    )


def numbered(count: int, job_type: Job.Type, **parameters: Any) -> list[JobSpec]:
    return [JobSpec(job_type, f"{job_type}:{number}", parameters=parameters) for number in range(count)]


def end_jobs() -> None:
    """Have all jobs ended, as workers would leave them, and no message of theirs waiting."""
    current_app.control.purge()
    Job.objects.active().update(status=Job.Status.COMPLETED, finished_at=timezone.now())


@contextmanager
def shipped_worker(queues: str, *, processes: int | None = None, **env: str) -> "Iterator[subprocess.Popen[bytes]]":
    """The shipped worker with work that only takes time."""
    concurrency = () if processes is None else ("-c", str(processes))
    name = queues.replace(",", "-")
    words = ("-A", "stockqueue", "worker", "-Q", queues, "-I", "benchmarks.works", "-n", f"{name}@%h", *concurrency)
    with celery(*words, **env) as process:
        yield process


@contextmanager
def fetcher(number: int, yahoo: YahooStandIn) -> Iterator[None]:
    """The shipped worker of one process, with the real work; from when it answers."""
    words = ("-A", "stockqueue", "worker", "-Q", "background_fetch", "-c", "1", "-n", f"fetch{number}@%h")
    with celery(*words, **yahoo.environment):
        name = f"fetch{number}@{os.uname().nodename}"
        ask = current_app.control
        wait_until(lambda: bool(ask.ping(timeout=0.5, destination=[name])), name, timeout=60)
        yield


def _publish(name: str, title: str, unit: str, figures: dict[str, list[float]]) -> None:
    where = f"{connection.vendor}-{BROKER}"
    publish(f"dispatch-{name}-{where}", f"{title} ({where})", unit, {k: Spread.of(v) for k, v in figures.items()})


SCENARIOS: dict[str, Callable[[argparse.Namespace], None]] = {
    "throughput": throughput,
    "waits": waits,
    "receiver": receiver,
    "scaling": scaling,
    "bulk": bulk,
    "drain": drain,
}


if __name__ == "__main__":
    main()
