"""A login with many stale holdings while the requests to Yahoo are scarce, and two owners at the same time.

Everything is as shipped: web server, workers, beat, bridge, all analyses of a login. Only Yahoo is a stand-in, and its
rate limit is that of the option. "Quiet" is measured in events, messages and log lines of each job. The least possible
time is that of the requests that were sent, at the rate limit's share for background work.

In the second part an owner presses "Refresh prices" twice a second, and another owner logs in, alone and meanwhile.
"""

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import yaml

from benchmarks.options import Options

options = Options("scarce", __doc__)
options.add_size("holdings", "stale holdings of the login", 500, smallest=3)
options.add_size("rate", "requests to Yahoo a minute", 600, smallest=600)
options.add_size("refreshed", "holdings of the owner who refreshes", 100, smallest=2)
options.add_size("runs", "logins of the other owner, alone and meanwhile", 10, smallest=1)
arguments = options.parse()


def configure() -> None:
    """The benchmarks' configuration with this rate limit, the shipped analyses of a login, and all log lines."""
    file = Path(os.environ["STOCKQUEUE_CONFIG"])
    content = yaml.safe_load(file.read_text())
    settings = content["job_processor"]
    settings["stock_jobs"]["data_fetch"]["rate_limit"] = arguments.rate
    settings["integration"]["apis"]["yahoo_finance"]["rate_limit"] = arguments.rate
    settings["stock_jobs"]["analysis"]["at_login"] = ["technical", "sentiment", "fundamental"]
    settings["logging"]["level"] = content["development"]["job_processor"]["logging"]["level"] = "INFO"
    file.write_text(yaml.safe_dump(content))


configure()

import django

django.setup()

from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.db.models import QuerySet
from django.utils import timezone

from benchmarks.report import Spread, publish
from benchmarks.site import PASSWORD, Site, hold, make_stale, running_site
from operations.local.child_processes import wait_until
from operations.local.http_client import Browser
from tasks.models import Job, JobEvent
from tests.support.prices import quotable
from tests.support.standins.yahoo_news import article
from tests.support.standins.yahoo_summary import summary

LONGEST = 3_600.0
"""Seconds."""
BETWEEN_REFRESHES = 0.5
PROGRAMS = ("web", "foreground", "background", "beat", "bridge")


def main() -> None:
    call_command("migrate", verbosity=0)
    with running_site(PROGRAMS, "stock/+/+") as site:
        log_in_once(site)
        log_in_beside_another(site)


def log_in_once(site: Site) -> None:
    stocks = quotable(site.yahoo, *(f"MANY{number}" for number in range(arguments.holdings)))
    for stock in stocks:
        site.yahoo.serve_news(stock.symbol, [article("Profits rise", hours=1)])
        site.yahoo.serve_fundamentals(stock.symbol, summary())
    hold("many", stocks)
    make_stale("MANY")
    asked, lines, began = len(site.yahoo.requests), log_lines(), time.perf_counter()
    Browser(site.address).log_in("many", PASSWORD)
    foreground = Job.objects.filter(trigger=Job.Trigger.USER_LOGIN, job_type=Job.Type.STOCK_FETCH)
    wait_until(lambda: ended(foreground, arguments.holdings), "the fetches", timeout=LONGEST)
    fetched = time.perf_counter()
    analyses = Job.objects.filter(job_type__in=(Job.Type.STOCK_ANALYSIS, Job.Type.STOCK_RESEARCH))
    wait_until(lambda: ended(analyses, 3 * arguments.holdings), "the analyses", timeout=LONGEST)
    done = time.perf_counter()
    requests = len(site.yahoo.requests) - asked
    share = settings.JOB_PROCESSOR.stock_jobs.data_fetch.background_share
    jobs = Job.objects.count()
    of_login, of_schedules = (
        Counter(found.values_list("job", flat=True)).values()
        for found in (
            JobEvent.objects.exclude(job__trigger=Job.Trigger.SCHEDULED_UPDATE),
            JobEvent.objects.filter(job__trigger=Job.Trigger.SCHEDULED_UPDATE),
        )
    )
    kinds = Counter(JobEvent.objects.values_list("event", flat=True))
    show(
        f"A login with {arguments.holdings} holdings and {arguments.rate} requests a minute",
        "login",
        {
            "jobs": jobs,
            "fetches ended after, s": fetched - began,
            "all ended after, s": done - began,
            "ratio to the least possible": (done - began) / (60 * requests / (arguments.rate * share)),
            "requests": requests,
            "events of a job, mean": (sum(of_login) + sum(of_schedules)) / jobs,
            "events of a job of the login, most": max(of_login),
            "events of a job of a schedule, most": max(of_schedules, default=0),
            "retried events": kinds["retried"],
            "waits told": JobEvent.objects.filter(event="progress", payload__state="pending").count(),
            "messages of a job": len(site.subscriber.messages) / jobs,
            "log lines of a job": (log_lines() - lines) / jobs,
        },
    )


def log_in_beside_another(site: Site) -> None:
    """The other owner has ten holdings, whose prices are fresh after a request for their quotes."""
    hold("greedy", quotable(site.yahoo, *(f"GREEDY{number}" for number in range(arguments.refreshed))))
    hold("patient", quotable(site.yahoo, *(f"PATIENT{number}" for number in range(10))))
    alone = [log_in(site) for _ in range(arguments.runs)]
    with refreshing(site) as pressed:
        meanwhile = [log_in(site) for _ in range(arguments.runs)]
    figures = {"alone, s": Spread.of(alone), "meanwhile, s": Spread.of(meanwhile)}
    ratio = figures["meanwhile, s"].median / figures["alone, s"].median
    publish(
        f"scarce-owners-{connection.vendor}",
        f"A login while another owner refreshes {arguments.refreshed} holdings, {len(pressed)} times",
        "seconds and ratio",
        figures | {"ratio": Spread.of([ratio])},
    )


def log_in(site: Site) -> float:
    """Seconds until the last of the patient owner's holdings is stored."""
    # Not "checked since the login": a history of an earlier login may have come just before it.
    stale = make_stale("PATIENT").filter(checked_at__lt=timezone.now() - timedelta(hours=1))
    began = time.perf_counter()
    Browser(site.address).log_in("patient", PASSWORD)
    wait_until(lambda: not stale.exists(), "the last holding", timeout=LONGEST)
    return time.perf_counter() - began


@contextmanager
def refreshing(site: Site) -> Iterator[list[float]]:
    """The greedy owner presses "Refresh prices" twice a second; the times."""
    pressed: list[float] = []
    over = threading.Event()

    def press() -> None:
        browser = Browser(site.address)
        page = browser.log_in("greedy", PASSWORD)
        while not over.wait(BETWEEN_REFRESHES):
            page = browser.post("/refresh/", page)
            pressed.append(time.perf_counter())

    thread = threading.Thread(target=press)
    thread.start()
    try:
        wait_until(lambda: len(pressed) > 2, "the first refreshes")
        yield pressed
    finally:
        over.set()
        thread.join()


def ended(jobs: QuerySet[Job], count: int) -> bool:
    return jobs.filter(finished_at__isnull=False).count() >= count


def log_lines() -> int:
    """The lines in all log files so far."""
    return sum(file.read_bytes().count(b"\n") for file in settings.VAR.rglob("*.log*"))


def show(title: str, key: str, figures: dict[str, float]) -> None:
    spreads = {name: Spread.of([float(value)]) for name, value in figures.items()}
    publish(f"scarce-{key}-{connection.vendor}", title, "figures of one run", spreads)


if __name__ == "__main__":
    main()
