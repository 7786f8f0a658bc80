"""Real fetches a second of two processes, against a Celery task for each stock.

The jobs have all their events and TaskResults, and are done in cohorts as shipped. The tasks are those of
`benchmarks.bare_stocks`: one asks for a quote, the other for a chart. Yahoo is a stand-in that answers at once. All
messages are there before a worker starts, and no stock is new to yfinance.
"""

import os

# Without DEBUG, which makes Django keep every statement in memory.
os.environ |= {"DJANGO_DEBUG": "0", "DJANGO_SECRET_KEY": "benchmark " * 6, "DJANGO_ALLOWED_HOSTS": "127.0.0.1"}

import django

django.setup()

from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.utils import timezone
from django_celery_results.models import TaskResult

from benchmarks.bare import app as bare
from benchmarks.options import Options
from benchmarks.report import Spread, publish
from benchmarks.site import make_stale
from benchmarks.workers import celery, completed, forget_jobs, rate, send_all
from market.jobs.requests import request_fetches
from market.models import Stock
from tasks.delivery import direct
from tasks.models import Job
from tests.support.prices import quotable
from tests.support.standins.yahoo import YahooStandIn

QUEUE = Job.Queue.BACKGROUND_FETCH
PREFIX = "CO-"
WORKER = ("worker", "-Q", QUEUE, "-n", "cohorts@%h")


def main() -> None:
    options = Options("cohorts", __doc__)
    options.add_size("runs", "repetitions", 5, smallest=1)
    options.add_size("stocks", "stocks of a run", 2_000, smallest=120)  # three cohorts: they end at different times
    arguments = options.parse()
    direct.configure(None, None)  # this process only asks
    call_command("migrate", verbosity=0)
    figures: dict[str, list[float]] = {}
    with YahooStandIn() as yahoo:
        stocks = quotable(yahoo, *(f"{PREFIX}{number}" for number in range(arguments.stocks)))
        environment = yahoo.environment | {"YFINANCE_CACHE": str(settings.VAR / "yfinance-bare")}
        # yfinance asks for each time zone once. Two processes would fail to store the first cookie together.
        drain_tasks("bare.fetch_chart", stocks, environment, processes=1)
        for _run in range(arguments.runs):
            jobs = drain_jobs(stocks, environment)
            figures.setdefault("jobs/s", []).append(jobs)
            for name in ("quote", "chart"):
                tasks = drain_tasks(f"bare.fetch_{name}", stocks, environment)
                figures.setdefault(f"tasks/s, a {name} each", []).append(tasks)
                figures.setdefault(f"ratio to a {name} each", []).append(jobs / tasks)
    publish(
        f"cohorts-{connection.vendor}",
        f"Fetches of {len(stocks)} stocks by two processes ({connection.vendor})",
        "a second, and ratio",
        {label: Spread.of(values) for label, values in figures.items()},
    )


def drain_jobs(stocks: list[Stock], environment: dict[str, str]) -> float:
    """Jobs a second of the shipped worker."""
    forget_jobs()
    make_stale(PREFIX)
    request_fetches(stocks, Job.Trigger.SCHEDULED_UPDATE)
    send_all(QUEUE)
    with celery("-A", "stockqueue", *WORKER, "-c", "2", **environment):
        a_second = rate(completed(), len(stocks))
    assert Job.objects.filter(outcome=Job.Outcome.UPDATED, result__via="quote").count() == len(stocks)
    assert TaskResult.objects.count() == len(stocks)
    return a_second


def drain_tasks(name: str, stocks: list[Stock], environment: dict[str, str], *, processes: int = 2) -> float:
    """Tasks a second of plain Celery."""
    forget_jobs()
    stale, began = make_stale(PREFIX), timezone.now()
    for stock in stocks:
        bare.send_task(name, args=[stock.symbol], queue=QUEUE, priority=5)
    words = (*WORKER, "-c", str(processes), "-I", "benchmarks.bare_stocks")
    with celery("-A", "benchmarks.bare", *words, **environment):
        a_second = rate(TaskResult.objects.values_list("date_done", flat=True), len(stocks))
    assert not stale.filter(checked_at__lt=began).exists()
    return a_second


if __name__ == "__main__":
    main()
