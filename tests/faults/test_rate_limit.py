"""A source's requests a minute, with real workers and a real minute."""

from contextlib import ExitStack

import pytest

from market.jobs.requests import request_fetches
from market.models import Stock
from operations.local.child_processes import wait_until
from tasks.models import Job
from tests.conftest import WORKER
from tests.faults.steps import BEAT, wait_for_end
from tests.support.invariants import check_jobs

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.long]

LIMIT = 60
PAUSE = 25


def most_in(seconds: float, moments: list[float]) -> int:
    """The largest number of moments within so many seconds of each other."""
    ordered = sorted(moments)
    return max(sum(first <= one < first + seconds for one in ordered) for first in ordered)


def test_four_workers_send_at_most_sixty_requests_in_any_minute_and_none_in_a_pause(
    new_redis, point_to, start, yahoo, configured
):
    file = configured(
        **{
            "stock_jobs.data_fetch.rate_limit": LIMIT,
            "stock_jobs.data_fetch.cooldown": [PAUSE],
            "stock_jobs.data_fetch.retry_backoff": [1],
        }
    )
    symbols = [f"RL{number}" for number in range(70)]
    yahoo.serve(*symbols, days=3)
    point_to(new_redis.url)
    environment = {
        "CELERY_BROKER_URL": new_redis.url,
        "STOCKQUEUE_CONFIG": str(file),
        **yahoo.server.environment,
    }
    seen_before = len(yahoo.server.requests)
    with ExitStack() as stack:
        for number in range(4):
            worker = (*WORKER, "-c", "1", "-n", f"w{number}@%h")
            stack.enter_context(start(*worker, ready=" ready.", **environment))
        stack.enter_context(start(*BEAT, ready="beat", **environment))
        stocks = [Stock.objects.create(symbol=symbol) for symbol in symbols]
        jobs = request_fetches(stocks, Job.Trigger.USER_REQUEST).created
        wait_until(lambda: len(yahoo.server.requests) - seen_before >= LIMIT, "the first minute", timeout=60)
        # The second minute begins with a refusal, and so a pause.
        yahoo.misbehave("rate_limited", times=1)
        wait_until(lambda: 429 in [one.status for one in yahoo.server.requests], "a refusal", timeout=90)
        wait_for_end(jobs, timeout=300)
    requests = yahoo.server.requests[seen_before:]
    refused = next(one.at for one in requests if one.status == 429)
    assert most_in(60, [one.at for one in requests]) <= LIMIT
    # What another worker had begun to send when the refusal came is not in its power any more.
    assert [one for one in requests if refused + 0.5 < one.at < refused + PAUSE] == []
    assert len(requests) > LIMIT
    check_jobs(jobs, served=yahoo.server.closes)
