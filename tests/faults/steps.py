"""Steps that the tests of faults have in common: ask for jobs, let time pass, wait for the end."""

from collections import Counter
from collections.abc import Collection
from datetime import timedelta

from django.contrib.auth.models import User
from django.db.models import F
from django.test import Client

from market.jobs.requests import request_fetches
from market.models import Stock
from operations.local.child_processes import wait_until
from tasks.models import Job
from tests.conftest import WORKER, Yahoo
from tests.support.invariants import ENDS

BEAT = ("-m", "celery", "-A", "stockqueue", "beat", "--pidfile", "")
EVERY_QUEUE = (*WORKER, "-Q", "foreground,background_fetch,background_analysis", "-I", "tests.support.works")
"""A worker that does `tests.support.works` in place of analyses."""


def fetch(*symbols: str, trigger: Job.Trigger = Job.Trigger.USER_REQUEST) -> list[Job]:
    """Ask for the stocks; the new jobs."""
    stocks = [Stock.objects.get_or_create(symbol=symbol)[0] for symbol in symbols]
    return request_fetches(stocks, trigger).created


def log_in(user: User) -> None:
    answer = Client().post("/accounts/login/", {"username": user.username, "password": "secret"})
    assert answer.status_code == 302


def wait_for_end(jobs: Collection[Job], timeout: float = 60.0) -> None:
    ended = Job.objects.filter(pk__in=[job.pk for job in jobs], status__in=ENDS)
    wait_until(lambda: ended.count() == len(jobs), f"the end of {len(jobs)} jobs", timeout=timeout)


def let_pass(seconds: float) -> None:
    """As if jobs had been sent, and had failed, so much earlier: instead of waiting for the sweeper's patience."""
    earlier = timedelta(seconds=seconds)
    Job.objects.filter(status__in=Job.WAITING).update(
        dispatched_at=F("dispatched_at") - earlier, run_at=F("run_at") - earlier
    )


def counts() -> Counter[str]:
    """How many jobs there are of each status."""
    return Counter(Job.objects.values_list("status", flat=True))


def fetched(yahoo: Yahoo) -> Counter[str]:
    """How often the bars of each symbol were asked for in this test."""
    seen = yahoo.server.chart_requests()[yahoo.seen_before :]
    return Counter(request.symbol or "" for request in seen)
