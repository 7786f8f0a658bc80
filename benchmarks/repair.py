"""A repair run over many stored histories, some of them faulty: whether it finds all, its time and its requests.

One stock in twenty has a fault, of fourteen kinds in turn; a hundred histories are odd, and right. Two processes of
the shipped worker run the jobs. Yahoo is a stand-in that answers at once.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import astuple
from itertools import cycle, islice

# Without DEBUG, which makes Django keep every statement in memory.
os.environ |= {"DJANGO_DEBUG": "0", "DJANGO_SECRET_KEY": "benchmark " * 6, "DJANGO_ALLOWED_HOSTS": "127.0.0.1"}

import django

django.setup()

from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from benchmarks.options import Options
from benchmarks.report import Spread, publish
from benchmarks.workers import LONGEST, celery, forget_jobs, send_all
from market.jobs.repair import request_repairs
from market.models import PriceBar, Stock
from market.prices.store import store_history
from market.sources.base import Bar, History
from operations.local.child_processes import wait_until
from tasks.delivery import direct
from tasks.models import Job
from tests.support.faulty_histories import FAULTS, ODD, Bars
from tests.support.standins.yahoo import YahooStandIn, daily_bars

QUEUE = Job.Queue.BACKGROUND_FETCH
VALUES = ("date", "open", "high", "low", "close", "adj_close", "volume")
Rows = list[tuple[object, ...]]


def main() -> None:
    options = Options("repair", __doc__)
    options.add_size("runs", "repetitions", 3, smallest=1)
    options.add_size("stocks", "stocks with a history", 1_000, smallest=40)
    options.add_size("bars", "bars of each", 500, smallest=120)
    options.add_size("odd", "odd histories that are right", 100, smallest=10)
    arguments = options.parse()
    direct.configure(None, None)  # this process only asks
    call_command("migrate", verbosity=0)
    figures: dict[str, list[float]] = {}
    with YahooStandIn() as yahoo:
        for _run in range(arguments.runs):
            for label, value in repair(yahoo, arguments.stocks, arguments.bars, arguments.odd).items():
                figures.setdefault(label, []).append(value)
    publish(
        f"repair-{connection.vendor}",
        f"Repair of {arguments.stocks} histories with {arguments.bars} bars ({connection.vendor})",
        "numbers and seconds",
        {label: Spread.of(values) for label, values in figures.items()},
    )


def repair(yahoo: YahooStandIn, count: int, length: int, odd: int) -> dict[str, float]:
    """Store histories, repair them, and compare every bar with the source's."""
    forget_jobs()
    Stock.objects.all().delete()
    faulty = list(islice(cycle(FAULTS.values()), count // 20))
    oddities = list(islice(cycle(ODD.values()), odd))
    right: dict[str, Bars] = {}
    for number in range(count):
        symbol = f"R{number}"
        bars = daily_bars(symbol, length)
        if len(faulty) <= number < len(faulty) + len(oddities):
            bars = oddities[number - len(faulty)](bars)
        right[symbol] = bars
        yahoo.serve(symbol, bars)
        store(symbol, faulty[number](bars) if number < len(faulty) else bars)
    before = stored()
    wrong = {symbol for symbol, bars in right.items() if before[symbol] != rows_of(bars)}
    assert len(wrong) == len(faulty), wrong
    asked, began = len(yahoo.requests), time.perf_counter()
    jobs = request_repairs(list(Stock.objects.all()), Job.Trigger.MAINTENANCE).created
    send_all(QUEUE)
    words = ("-A", "stockqueue", "worker", "-Q", QUEUE, "-c", "2", "-n", "repair@%h")
    with celery(*words, **yahoo.environment):
        wait_until(lambda: not Job.objects.active().exists(), "all", timeout=LONGEST, every=0.5)
    seconds = time.perf_counter() - began
    after = stored()
    changed = set(Job.objects.filter(outcome=Job.Outcome.UPDATED).values_list("symbol", flat=True))
    return {
        "faulty histories": len(wrong),
        "of these repaired": sum(after[symbol] == rows_of(right[symbol]) for symbol in wrong),
        "other histories changed": len(changed - wrong)
        + sum(after[symbol] != before[symbol] for symbol in right.keys() - wrong),
        "seconds": seconds,
        "requests": len(yahoo.requests) - asked,
        "jobs": len(jobs),
    }


def store(symbol: str, bars: Bars) -> None:
    Stock.objects.create(symbol=symbol)
    answer = History(symbol, "yahoo_finance", [Bar(*astuple(bar)) for bar in bars], exchange="CCC", currency="USD")
    store_history(answer, timezone.now())


def stored() -> dict[str, Rows]:
    """The bars of each stock, in the order of their days."""
    found: dict[str, Rows] = {}
    for symbol, *values in PriceBar.objects.order_by("stock", "date").values_list("stock__symbol", *VALUES):
        found.setdefault(symbol, []).append(tuple(values))
    return found


def rows_of(bars: Sequence[object]) -> Rows:
    return [tuple(getattr(bar, name) for name in VALUES) for bar in bars]


if __name__ == "__main__":
    main()
