"""Processes and workers that die, hang or are stopped while they do a cohort: each member is done once."""

import os
import signal
from contextlib import suppress

import pytest

from market.jobs.requests import request_fetches
from market.models import PriceBar
from operations.local.child_processes import kill_group, wait_until
from tasks.models import Job
from tests.conftest import WORKER, output_of
from tests.faults.steps import BEAT, wait_for_end
from tests.support.invariants import check_jobs
from tests.support.prices import quotable

pytestmark = pytest.mark.django_db(transaction=True)

QUOTED = ("CK0", "CK1", "CK2")
BY_CHART = ("CK3",)
ONE = (*WORKER, "-c", "1", "--without-mingle")


@pytest.fixture
def environment(new_redis, point_to, yahoo, configuration_file) -> dict[str, str]:
    """The variables of workers whose heartbeats are missed after seconds."""
    point_to(new_redis.url)
    quick = configuration_file(**{"worker.heartbeat_interval": 1})
    return {"CELERY_BROKER_URL": new_redis.url, "STOCKQUEUE_CONFIG": str(quick), **yahoo.server.environment}


def ask(yahoo) -> list[Job]:
    """Fetches of three stocks that quotes answer for, and of one that needs its chart."""
    yahoo.touched += [*QUOTED, *BY_CHART]
    stocks = quotable(yahoo.server, *QUOTED, *BY_CHART)
    for symbol in BY_CHART:
        yahoo.server.serve_quote(symbol)
    return request_fetches(stocks, Job.Trigger.USER_REQUEST).created


def check_bars(yahoo) -> None:
    """Each stock has the bars that Yahoo has."""
    for symbol in (*QUOTED, *BY_CHART):
        stored = PriceBar.objects.filter(stock__symbol=symbol).values_list("date", "close")
        assert dict(stored) == yahoo.server.closes(symbol), symbol


def attempts() -> dict[str, int]:
    return dict(Job.objects.order_by("symbol").values_list("symbol", "attempt"))


def retried(job: Job) -> int:
    return job.events.filter(event="retried").count()


@pytest.mark.parametrize(
    ("point", "quoted", "by_chart"),
    [
        # After both attempts, nothing has been written.
        pytest.param("claimed", ("failed", 2), ("failed", 2), id="claimed"),
        pytest.param("worked", ("failed", 2), ("failed", 2), id="worked"),
        # The members that quotes answered for had ended, and are not done again.
        pytest.param("ended", ("completed", 1), ("completed", 2), id="ended"),
    ],
)
def test_wherever_a_process_dies_its_members_are_rescued_once_and_ended_ones_are_left(
    new_redis, point_to, start, yahoo, configuration_file, point, quoted, by_chart
):
    point_to(new_redis.url)
    once_more = configuration_file(**{"stock_jobs.data_fetch.max_retries": 1})
    environment = {
        "CELERY_BROKER_URL": new_redis.url,
        "STOCKQUEUE_CONFIG": str(once_more),
        "STOCKQUEUE_CRASH_AT": point,
        **yahoo.server.environment,
    }
    jobs = ask(yahoo)
    with start(*ONE, ready=" ready.", **environment):
        wait_for_end(jobs)
    check_jobs(jobs)
    found = {job.symbol: job for job in Job.objects.all()}
    for symbols, expected in ((QUOTED, quoted), (BY_CHART, by_chart)):
        for symbol in symbols:
            job = found[symbol]
            assert (job.status, job.attempt) == expected
            assert retried(job) == expected[1] - 1


def test_a_cohort_whose_worker_dies_is_done_by_another(environment, start, yahoo):
    jobs = ask(yahoo)
    asked = len(yahoo.server.quote_requests())
    yahoo.server.hold_back()
    with start(*ONE, ready=" ready.", **environment) as first:
        wait_until(lambda: len(yahoo.server.quote_requests()) > asked, "the request for quotes")
        with start(*ONE, ready=" ready.", **environment), start(*BEAT, ready="beat", **environment):
            kill_group(first)
            yahoo.server.release()
            wait_for_end(jobs)
    check_jobs(jobs)
    check_bars(yahoo)
    assert attempts() == dict.fromkeys((*QUOTED, *BY_CHART), 2)
    assert [retried(job) for job in jobs] == [1] * 4


def test_a_stopped_worker_that_goes_on_writes_nothing_of_its_cohort(environment, start, yahoo):
    jobs = ask(yahoo)
    asked = len(yahoo.server.quote_requests())
    yahoo.server.hold_back()
    with start(*ONE, ready=" ready.", **environment) as stopped:
        wait_until(lambda: len(yahoo.server.quote_requests()) > asked, "the request for quotes")
        os.killpg(stopped.pid, signal.SIGSTOP)
        try:
            yahoo.server.release()
            with start(*ONE, ready=" ready.", **environment), start(*BEAT, ready="beat", **environment):
                wait_for_end(jobs)
            before = [list(job.events.values()) for job in jobs]
        finally:
            with suppress(ProcessLookupError):
                os.killpg(stopped.pid, signal.SIGCONT)
        wait_until(lambda: "their results are discarded" in output_of(stopped), "the refusal")
    check_jobs(jobs)
    check_bars(yahoo)
    assert [list(job.events.values()) for job in jobs] == before
    assert attempts() == dict.fromkeys((*QUOTED, *BY_CHART), 2)
