"""From the login's POST until the last stale holding is stored, and published on MQTT.

Everything is as shipped: gunicorn, the foreground worker, the bridge, Redis, the caps, the real yfinance. Only Yahoo
is a stand-in, with 200 ms for each answer. Time is taken from before the login form is fetched until another database
connection sees the last stock as checked. The least possible time is that of a login without holdings, which checks
the password, and of one request.
"""

import time
from collections.abc import Sequence
from typing import NamedTuple

import django

django.setup()

from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from benchmarks.options import Options
from benchmarks.report import Spread, publish
from benchmarks.site import LATENCY, PASSWORD, Site, hold, make_stale, running_site
from market.models import Stock
from operations.local.child_processes import wait_until
from operations.local.http_client import Browser
from tasks.models import Job
from tests.support.prices import quotable
from tests.support.standins.yahoo import YahooStandIn, daily_bars


class Login(NamedTuple):
    """Seconds until the last holding was stored, seconds from then to its publication, and requests to Yahoo."""

    stored: float
    published: float
    requests: int


def main() -> None:
    options = Options("login", __doc__)
    options.add_size("runs", "logins of each kind", 20, smallest=1)
    options.add_sizes("holdings", "numbers of holdings", [10, 100, 500], smallest=[2])
    arguments = options.parse()
    call_command("migrate", verbosity=0)
    with running_site(("web", "foreground", "bridge"), "jobs/completed/+") as site:
        User.objects.create_user("idle", password=PASSWORD)
        cold = log_in(site, known("COLD", 10, site.yahoo))
        least = [log_in_idle(site) + LATENCY for _ in range(arguments.runs)]
        report("least possible", [Login(one, 0.0, 1) for one in least], least)
        report("10 holdings, without cookie and crumb", [cold], least)
        for count in arguments.holdings:
            user = known(f"KNOWN{count}", count, site.yahoo)
            log_in(site, user)
            report(f"{count} holdings", [log_in(site, user) for _ in range(arguments.runs)], least)
        new = [log_in(site, unknown(f"NEW{run}", 10, site.yahoo)) for run in range(arguments.runs)]
        report("10 holdings that are new to the system", new, least)


def report(name: str, logins: Sequence[Login], least: Sequence[float]) -> None:
    fastest = Spread.of(least).median
    figures = {
        "until stored, s": [login.stored for login in logins],
        "from then until published, s": [login.published for login in logins],
        "requests to Yahoo": [float(login.requests) for login in logins],
        "ratio to the least possible": [login.stored / fastest for login in logins],
    }
    key = name.replace(" ", "-").replace(",", "")
    publish(
        f"login-{connection.vendor}-{key}",
        f"Login, {name}, {connection.vendor}",
        "seconds, requests and ratio",
        {label: Spread.of(values) for label, values in figures.items()},
    )


def known(name: str, count: int, yahoo: YahooStandIn) -> str:
    """A user with so many holdings that were fetched yesterday."""
    hold(name, quotable(yahoo, *(f"{name}-{number}" for number in range(count))))
    return name


def unknown(name: str, count: int, yahoo: YahooStandIn) -> str:
    """A user with so many holdings that were never fetched."""
    stocks = [Stock.objects.create(symbol=f"{name}-{number}") for number in range(count)]
    for stock in stocks:
        yahoo.serve(stock.symbol, daily_bars(stock.symbol, 30))
    hold(name, stocks)
    return name


def log_in_idle(site: Site) -> float:
    """Seconds that a login without holdings takes."""
    began = time.perf_counter()
    Browser(site.address).log_in("idle", PASSWORD)
    return time.perf_counter() - began


def log_in(site: Site, name: str) -> Login:
    """Log a user in, whose holdings are stale: those with bars lack the bar of yesterday."""
    held = make_stale(f"{name}-")
    asked, expected = len(site.yahoo.requests), len(site.subscriber.messages) + held.count()
    stale = held.exclude(checked_at__gt=timezone.now())
    began = time.perf_counter()
    Browser(site.address).log_in(name, PASSWORD)
    wait_until(lambda: not stale.exists(), "the last holding", timeout=60)
    stored = time.perf_counter()
    assert site.subscriber.wait_for(lambda messages: len(messages) >= expected, timeout=60)
    published = time.perf_counter()
    wait_until(lambda: not Job.objects.filter(status__in=Job.ACTIVE).exists(), "the last job")
    return Login(stored - began, published - stored, len(site.yahoo.requests) - asked)


if __name__ == "__main__":
    main()
