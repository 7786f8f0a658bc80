"""From the login's POST until the last of 10 stale holdings is stored: one worker, 200 ms for each of Yahoo's answers.

Everything is as shipped: gunicorn, the worker's command, Redis, the real yfinance. Only Yahoo is a stand-in. Time is
taken from before the login form is fetched until another database connection sees the last stock as checked.
"""

import os
import time
from contextlib import ExitStack
from pathlib import Path

import django

django.setup()

from celery import current_app
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection

from benchmarks.options import Options
from benchmarks.report import Spread, publish
from market.models import Stock
from operations.local.child_processes import free_port, is_listening, spawn, stop, wait_until
from operations.local.http_client import Browser
from operations.local.process_plan import plan
from portfolio.models import Holding, Portfolio
from tasks.models import Job
from tests.support.standins.yahoo import YahooStandIn, daily_bars

HOLDINGS = 10
LATENCY = 0.2
ROOT = Path(__file__).parents[1]


def main() -> None:
    options = Options("login", __doc__)
    options.add_size("runs", "logins of each kind", 20, smallest=1)
    runs = options.parse().runs
    call_command("migrate", verbosity=0)
    with ExitStack() as stack:
        yahoo = stack.enter_context(YahooStandIn(latency=LATENCY))
        browse = start_site(stack, yahoo)
        log_in(browse, yahoo, "WARM")
        figures = {
            "yfinance knows the time zones": Spread.of([log_in(browse, yahoo, "WARM") for _ in range(runs)]),
            "the stocks are new to it": Spread.of([log_in(browse, yahoo, f"NEW{run}") for run in range(runs)]),
        }
    title = f"Login to last of {HOLDINGS} stale holdings stored, {connection.vendor}"
    publish(f"login-{connection.vendor}", title, "seconds", figures)


def start_site(stack: ExitStack, yahoo: YahooStandIn) -> str:
    """The shipped web server and foreground worker; the site's address."""
    port = free_port()
    commands = plan(http_port=port, mqtt=settings.MQTT).programs
    log = stack.enter_context((settings.VAR / "output.log").open("wb"))
    for name in ("web", "foreground"):
        process = spawn(commands[name], cwd=ROOT, env=os.environ | yahoo.environment, output=log.fileno())
        stack.callback(stop, process)
    wait_until(lambda: is_listening("127.0.0.1", port), "the web server")
    wait_until(lambda: bool(current_app.control.ping(timeout=0.5, limit=1)), "the worker", timeout=60)
    return f"http://127.0.0.1:{port}"


def log_in(site: str, yahoo: YahooStandIn, name: str) -> float:
    """Seconds that one login of a user with ten stale stocks takes; the user is made where there is none."""
    if not User.objects.filter(username=name).exists():
        portfolio = Portfolio.objects.create(user=User.objects.create_user(name, password="secret"), name="Main")
        for number in range(HOLDINGS):
            stock = Stock.objects.create(symbol=f"{name}-{number}")
            yahoo.serve(stock.symbol, daily_bars(stock.symbol, 30))
            Holding.objects.create(portfolio=portfolio, stock=stock, shares=1, buy_price=1 + number)
    Stock.objects.filter(symbol__startswith=f"{name}-").update(checked_at=None)
    stale = Stock.objects.filter(symbol__startswith=f"{name}-", checked_at=None)
    began = time.perf_counter()
    Browser(site).log_in(name, "secret")
    wait_until(lambda: not stale.exists(), "the last holding", timeout=60)
    took = time.perf_counter() - began
    wait_until(lambda: not Job.objects.filter(status__in=Job.ACTIVE).exists(), "the last job")
    return took


if __name__ == "__main__":
    main()
