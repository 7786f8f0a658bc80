"""The data of charts and the searches for symbols, without a cache, with files and with Redis.

Readers prefer some stocks and queries: the n-th is read 1/n times as often as the first. A chart is the whole answer
of the web server's view, without HTTP. A search ends when the page has Yahoo's answer, which takes 0.2 s; without the
cache each search would be a request. The ratios are of the same run.
"""

import os
import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

# Without DEBUG, which makes Django keep every statement in memory.
os.environ |= {"DJANGO_DEBUG": "0", "DJANGO_SECRET_KEY": "benchmark " * 6, "DJANGO_ALLOWED_HOSTS": "127.0.0.1"}

import django

django.setup()

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client, override_settings
from django.utils import timezone

from benchmarks.options import Options
from benchmarks.report import Spread, publish
from market.models import PriceBar, Stock
from market.sources import configured_sources, search_by_name
from market.symbol_search import Allowance, search, search_source
from portfolio.models import Holding, Portfolio
from stockqueue.config.cache_settings import cache_settings
from tasks.delivery import direct
from tests.support.configuration import with_value
from tests.support.standins.yahoo import SEARCH, YahooStandIn, daily_bars

LATENCY = 0.2
"""Seconds for each answer of Yahoo."""
UNLIMITED = Allowance("benchmark", 1_000_000_000)
WITHOUT = "without"
Caches = dict[str, dict[str, Any]]


def main() -> None:
    options = Options("cache", __doc__)
    options.add_size("runs", "repetitions", 3, smallest=1)
    options.add_size("stocks", "stocks, and queries", 100, smallest=3)
    options.add_size("reads", "charts read in a run", 500, smallest=10)
    options.add_size("searches", "searches in a run", 200, smallest=5)
    arguments = options.parse()
    call_command("migrate", verbosity=0)
    user = make_owner(arguments.stocks)
    measure_charts(user, arguments.runs, arguments.stocks, arguments.reads)
    with YahooStandIn() as yahoo:
        measure_searches(yahoo, user, arguments.runs, arguments.stocks, arguments.searches)


def make_owner(count: int) -> User:
    """A user who holds stocks with three years of bars."""
    user = User.objects.create_user("owner")
    portfolio = Portfolio.objects.create(user=user, name="Main")
    for number in range(count):
        stock = Stock.objects.create(symbol=f"ST{number}", currency="USD", bars_changed_at=timezone.now())
        bars = daily_bars(stock.symbol, 760)
        PriceBar.objects.bulk_create(PriceBar(stock=stock, **vars(bar)) for bar in bars)
        Holding.objects.create(portfolio=portfolio, stock=stock, shares=1)
    return user


def ways() -> dict[str, Caches]:
    """The caches to compare."""
    redis = with_value(settings.JOB_PROCESSOR, "integration.cache.redis_enabled", True)
    return {
        WITHOUT: {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}},
        "files": cache_settings(settings.JOB_PROCESSOR, settings.CELERY_BROKER_URL, settings.VAR / "files"),
        # Its files, which take the place of a failing Redis, are others.
        "Redis": cache_settings(redis, settings.CELERY_BROKER_URL, settings.VAR / "redis"),
    }


def some_of(count: int, size: int, seed: int) -> list[int]:
    """`size` numbers below `count`; small numbers are frequent."""
    return random.Random(seed).choices(range(count), [1 / (number + 1) for number in range(count)], k=size)


def measure_charts(user: User, runs: int, stocks: int, reads: int) -> None:
    """Seconds of an answer, the share of hits, and the ratio of the means to the run without a cache."""
    client = Client(SERVER_NAME="127.0.0.1")
    client.force_login(user)
    times: dict[str, list[float]] = {way: [] for way in ways()}
    shares: dict[str, list[float]] = {}
    ratios: dict[str, list[float]] = {}
    read(client, 0)  # imports pandas
    for run in range(runs):
        Stock.objects.update(bars_changed_at=timezone.now())
        means = {}
        for way, caches in in_turn(run):
            with override_settings(CACHES=caches):
                taken = [read(client, number) for number in some_of(stocks, reads, run)]
            times[way] += taken
            means[way] = sum(taken) / len(taken)
            if way != WITHOUT:
                # Each stock is computed once; the rest are hits.
                shares.setdefault(way, []).append(1 - len(set(some_of(stocks, reads, run))) / reads)
        for way in means.keys() - {WITHOUT}:
            ratios.setdefault(way, []).append(means[WITHOUT] / means[way])
    publish("cache-charts", "Answers with a chart", "seconds", {way: Spread.of(taken) for way, taken in times.items()})
    more = {f"times as fast with {way}": Spread.of(values) for way, values in sorted(ratios.items())}
    more |= {f"share of hits with {way}": Spread.of(values) for way, values in sorted(shares.items())}
    publish("cache-ratios", "Charts with a cache against charts without", "times and shares", more)


def in_turn(run: int) -> Sequence[tuple[str, Caches]]:
    """The ways, another one first in each run."""
    every = list(ways().items())
    return [*every[run % len(every) :], *every[: run % len(every)]]


def read(client: Client, number: int) -> float:
    return seconds(lambda: client.get(f"/stocks/ST{number}/chart/", secure=True).content)


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measure_searches(yahoo: YahooStandIn, user: User, runs: int, count: int, searches: int) -> None:
    """Seconds until a page has Yahoo's answer, and the requests for each search."""
    for number in range(count):
        yahoo.serve(f"ST{number}", daily_bars(f"ST{number}", 2), name=f"Company number{number}")
    settings.YAHOO_PROXY, settings.YAHOO_CA_BUNDLE = yahoo.proxy_url, str(yahoo.ca_bundle)
    unlimited = with_value(settings.JOB_PROCESSOR, "stock_jobs.data_fetch.rate_limit", 1_000_000)
    for path, value in (("integration.apis.yahoo_finance.rate_limit", 1_000_000), ("queue.backend", "direct")):
        unlimited = with_value(unlimited, path, value)
    times: dict[str, list[float]] = {way: [] for way in ways()}
    requests: dict[str, list[float]] = {way: [] for way in ways()}
    with override_settings(JOB_PROCESSOR=unlimited):
        configured_sources.cache_clear()
        search_source("warm up")  # imports yfinance, and fetches its cookie
        yahoo.latency = LATENCY
        direct.configure(lambda _job, _worker: None, None)
        for run in range(runs):
            for way, caches in in_turn(run):
                before = len(yahoo.requests)
                with override_settings(CACHES=caches):
                    for number in some_of(count, searches, run):
                        times[way].append(seconds(partial(ask, way, f"number{number} run{run}", user)))
                asked = sum(request.path == SEARCH for request in yahoo.requests[before:])
                requests[way].append(asked / searches)
        direct.configure(None, None)
    figures = {way: Spread.of(taken) for way, taken in times.items()}
    publish("cache-searches", "Searches until Yahoo's answer is there", "seconds", figures)
    figures = {way: Spread.of(shares) for way, shares in requests.items()}
    publish("cache-requests", "Requests to Yahoo", "requests for each search", figures)


def ask(way: str, query: str, user: User) -> None:
    """A search, until its answer is there. The limit of a user's searches is none of this benchmark's business."""
    if way == WITHOUT:
        search_by_name(query)
        return
    while search(query, user.pk, UNLIMITED) is None:
        time.sleep(0.005)


if __name__ == "__main__":
    main()
