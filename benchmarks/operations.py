"""What operators look at, with 1,000,000 jobs: the list of jobs by page, filter and search, "Stock data", `/metrics`.

Time is the server's, in this process: from the request to the rendered page, on a warm connection; what has to be read
is in the memory of the database or of its machine. Processor time is what remains of it on an idle machine.
"""

import gc
import os
import time
from collections.abc import Iterator
from datetime import timedelta

os.environ |= {"DJANGO_DEBUG": "0", "DJANGO_SECRET_KEY": "benchmark " * 6, "DJANGO_ALLOWED_HOSTS": "127.0.0.1"}

import django

django.setup()

import psutil
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from benchmarks.options import Options
from benchmarks.population import populate
from benchmarks.report import Spread, publish
from console.dashboard import links
from console.kit.keyset import NEWER, OLDER
from console.kit.keyset_keys import write_key
from operations.monitoring import last_hour
from tasks.delivery import direct
from tasks.models import Job, JobRequest


def main() -> None:
    options = Options("operations", __doc__)
    options.add_size("jobs", "jobs in the database", 1_000_000, smallest=1_000)
    options.add_size("runs", "times that each page is asked for", 30, smallest=1)
    arguments = options.parse()
    direct.configure(None, None)
    call_command("migrate", verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)
    populate(arguments.jobs)
    client = Client(headers={"host": "127.0.0.1"})
    client.force_login(User.objects.create_superuser("admin"))
    gc.collect()
    gc.freeze()  # as the web server does
    seconds, processor = {}, {}
    for name, address in pages():
        with CaptureQueriesContext(connection) as queries:
            ask(client, address)
        label = f"{name} ({len(queries)} queries)"
        began = processor_time_of_the_database()
        asked = [ask(client, address) for _run in range(arguments.runs)]
        database = (processor_time_of_the_database() - began) / arguments.runs
        seconds[label] = Spread.of([took for took, _ours in asked])
        processor[label] = Spread.of([ours + database for _took, ours in asked])
    title = f"Pages for operators, {arguments.jobs:,} jobs, {connection.vendor}"
    publish(f"operations-{connection.vendor}", title, "seconds", seconds)
    publish(
        f"operations-processor-{connection.vendor}", title, "seconds of a processor, the database's too", processor
    )


def ask(client: Client, address: str) -> tuple[float, float]:
    """Seconds that an answer takes, and how long this process was computing."""
    began, computed = time.perf_counter(), time.process_time()
    answer = client.get(address, secure=True)
    took = time.perf_counter() - began, time.process_time() - computed
    assert answer.status_code == 200, address
    return took


def processor_time_of_the_database() -> float:
    """Seconds that our connection's process has computed, in hundredths."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def pages() -> Iterator[tuple[str, str]]:
    """Names and addresses. What links of "Stock data" lead to is written as it writes them."""
    count = Job.objects.count()
    middle = Job.objects.order_by("created_at", "id")[count // 2]
    somebody = JobRequest.objects.exclude(user__username="user0").filter(user__isnull=False).latest("id")
    newest = Job.objects.latest("created_at").created_at
    hour, day = newest - timedelta(hours=1), newest - timedelta(days=1)
    place = write_key((middle.created_at, middle.pk))
    yield "jobs, first page", links.jobs()
    yield "jobs, in the middle, older", links.jobs(**{OLDER: place})
    yield "jobs, in the middle, newer", links.jobs(**{NEWER: place})
    for name, value in (
        *(("status__exact", status) for status in ("failed", "cancelled", "completed", "running", "pending")),
        *(("queue__exact", "background_analysis"), ("priority__exact", 9)),
        *(("trigger__exact", "user_login"), ("trigger__exact", "maintenance")),
        *(("outcome__exact", "partial"), ("job_type__exact", "stock_research")),
        *(("reason", "Yahoo Finance answered 503"), ("worker_id__exact", "nobody@here:1")),
    ):
        yield f"jobs, {name.removesuffix('__exact')} {value}", links.jobs(**{name: value})
    waiting = {"queue__exact": "foreground", "status__in": "pending,queued"}
    yield "jobs that wait in a queue", links.active_jobs(**waiting)
    yield "jobs that wait in a queue, the oldest", links.active_jobs(**waiting, created_at__lte=hour.isoformat())
    yield "jobs of a worker that ended within an hour", links.ended_jobs(hour, worker_id__exact="foreground@here:3")
    yield "jobs of a queue that ended within a day", links.ended_jobs(day, queue__exact="foreground")
    yield (
        "jobs that ended in an hour two days ago",
        links.ended_jobs(day - timedelta(hours=25), finished_at__lte=(day - timedelta(hours=24)).isoformat()),
    )
    reason = {"status__exact": "failed", "reason": "Yahoo Finance answered 503"}
    yield "jobs that failed for a reason within a day", links.ended_jobs(day, **reason)
    yield (
        "jobs two days ago, trigger maintenance",
        links.jobs(created_at__lte=(newest - timedelta(days=2)).isoformat(), trigger__exact="maintenance"),
    )
    for meaning, text in (
        *(("the most popular symbol", "SPY"), ("a symbol, lower case", middle.symbol.lower() or "aapl")),
        *(("one letter", "A"), ("two letters", "AB")),
        *(("the busiest user", "user0"), ("a user", str(somebody.user))),
        *(("an id", str(middle.pk)), ("the beginning of an id", str(middle.pk)[:8])),
        *(("nothing that is there", "ZZZZZZ"), ("no symbol", "what is this?")),
    ):
        yield f"jobs, search for {meaning}", links.jobs(q=text)
    yield "failed jobs, search for one letter", links.jobs(q="A", status__exact="failed")
    yield "failed jobs, search for the busiest user", links.jobs(q="user0", status__exact="failed")
    yield "requests, first page", links.job_requests()
    yield "requests of logins that wait", links.job_requests(login=last_hour.WAITING)
    yield "requests, search for the busiest user", links.job_requests(q="user0")
    yield "events, first page", reverse("admin:tasks_jobevent_changelist")
    yield "events that wait for MQTT", links.unpublished_events()
    yield "events that are set aside", links.set_aside_events()
    yield "Stock data", reverse("admin:operations_stockdata_changelist")
    yield "Stock data, its figures", reverse("admin:operations_stockdata_figures")
    yield "Stock data, its charts", reverse("admin:operations_stockdata_charts")
    yield "/metrics", reverse("metrics")


if __name__ == "__main__":
    main()
