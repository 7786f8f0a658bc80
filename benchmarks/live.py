"""Live updates of owners' pages by the shipped web server: time, bytes, memory and queries; and logins beside gthread.

A change is the end of a job, committed by this process. Its time is taken until a page has received the whole row. The
idle pages belong to users with ten holdings each; their memory is what the web server's process grows by. Which
connections query is PostgreSQL's word; once a minute, one of them does.
"""

import time

import django

django.setup()

import psutil
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection

from benchmarks.options import Options
from benchmarks.report import Spread, publish
from benchmarks.site import PASSWORD, hold, web_server
from market.jobs.requests import request_fetches
from market.models import Stock
from operations.local.http_client import Browser
from portfolio.live.pages import PAGES_OF_A_USER
from tasks.control import cancel
from tasks.models import Job
from tests.support.live_stream import Stream, cookie_of

SHIPPED = ("--threads", "4")
GTHREAD = ("--worker-class", "gthread", "--threads", "4")


def main() -> None:
    options = Options("live", __doc__)
    options.add_size("runs", "changes of a row, one in three seconds", 30, smallest=2)
    options.add_size("holdings", "holdings of the large portfolio", 500, smallest=2)
    options.add_size("pages", "idle pages", 1000, smallest=20)
    options.add_size("seconds", "seconds in which idle pages cost nothing", 20, smallest=1)
    options.add_size("logins", "logins at each web server", 20, smallest=2)
    arguments = options.parse()
    call_command("migrate", verbosity=0)
    with web_server(*SHIPPED) as (site, process):
        for count in (10, arguments.holdings):
            report_changes(site, count, arguments.runs)
        report_idle(site, process, arguments.pages, arguments.seconds)
    User.objects.create_user("idle", password=PASSWORD)
    figures = {}
    for name, words in {"shipped worker, s": SHIPPED, "gthread, s": GTHREAD}.items():
        with web_server(*words) as (site, _):
            log_in(site)
            figures[name] = Spread.of([log_in(site) for _ in range(arguments.logins)])
    publish(f"live-{connection.vendor}-logins", f"Logins without holdings, {connection.vendor}", "seconds", figures)


def report_changes(site: str, count: int, runs: int) -> None:
    stocks = Stock.objects.bulk_create(Stock(symbol=f"H{count}-{number}", name="A company") for number in range(count))
    user = hold(f"holder of {count}", stocks)
    cookie = cookie_of(user)
    Job.objects.all().delete()
    seconds, sizes = [], []
    with Stream(site, cookie, since=time.time() + 3600) as stream:
        for run in range(runs):
            (job,) = request_fetches([stocks[run % count]], Job.Trigger.SCHEDULED_UPDATE).created
            stream.wait_for("updating")
            cancel([job.pk], "benchmark")
            began = time.perf_counter()
            row = stream.wait_for("<tr ")[-1]
            seconds.append(time.perf_counter() - began)
            sums = stream.wait_for('<div class="totals"')[-1]
            sizes.append(float(sum(len(f"event: element\ndata: {one.data}\n\n".encode()) for one in (row, sums))))
    publish(
        f"live-{connection.vendor}-changes-{count}",
        f"A changed row among {count}, {connection.vendor}",
        "seconds and bytes",
        {"commit until the page has the row, s": Spread.of(seconds), "row and totals, bytes": Spread.of(sizes)},
    )


def report_idle(site: str, process: psutil.Process, pages: int, seconds: int) -> None:
    cookies = []
    for number in range(-(-pages // PAGES_OF_A_USER)):
        stocks = Stock.objects.bulk_create(Stock(symbol=f"I{number}-{rank}") for rank in range(10))
        cookies.append(cookie_of(hold(f"idle {number}", stocks)))
    Job.objects.all().delete()
    before = process.memory_info().rss
    streams = [Stream(site, cookies[page // PAGES_OF_A_USER], since=time.time() + 3600) for page in range(pages)]
    assert {stream.status for stream in streams} == {200}
    grown = process.memory_info().rss
    figures = {"growth of the web server, MB": grown - before, "the web server with the pages, MB": grown}
    spreads = {label: Spread.of([size / 1e6]) for label, size in figures.items()}
    if connection.vendor == "postgresql":
        spreads[f"connections that query in {seconds} s"] = Spread.of([connections_that_query_in(seconds)])
    for stream in streams:
        stream.close()
    publish(
        f"live-{connection.vendor}-idle", f"{pages} idle pages, {connection.vendor}", "MB and connections", spreads
    )


def connections_that_query_in(seconds: int) -> float:
    """How many other connections begin a query in this time."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        (began,) = cursor.fetchone()
        time.sleep(seconds)
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend' AND query_start > %s",
            [began],
        )
        return float(cursor.fetchone()[0])


def log_in(site: str) -> float:
    """Seconds that a login without holdings takes."""
    began = time.perf_counter()
    Browser(site).log_in("idle", PASSWORD)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
