"""Outages of hours: workers and beat go on trying. Only the pauses between their attempts are left out."""

import pytest
from redis import Redis

from operations.local.child_processes import wait_until
from tests.conftest import WORKER, output_of
from tests.faults.steps import BEAT, fetch, wait_for_end

pytestmark = pytest.mark.django_db(transaction=True)

CELERYS_LIMIT = 100
"""Attempts after which Celery gives up as it comes: after 46 minutes."""


def without_pauses(command: tuple[str, ...]) -> tuple[str, ...]:
    return tuple("tests.faults.no_pauses" if word == "stockqueue" else word for word in command)


def wait_for_attempts(process) -> None:
    """Wait until it has tried more often than Celery's limit."""
    wait_until(
        lambda: output_of(process).count("Trying again in") > 2 * CELERYS_LIMIT,
        "attempts to reach the broker",
        process=process,
        timeout=60,
    )


@pytest.mark.parametrize("server", ["new_redis", pytest.param("new_rabbit", marks=pytest.mark.long)])
def test_a_worker_tries_to_reach_its_broker_until_it_is_back(server, request, point_to, start, yahoo):
    broker = request.getfixturevalue(server)
    yahoo.serve("AAPL")
    point_to(broker.url)
    environment = {"CELERY_BROKER_URL": broker.url, **yahoo.server.environment}
    with start(*without_pauses(WORKER), ready=" ready.", **environment) as worker:
        broker.stop()
        wait_for_attempts(worker)
        broker.start()
        wait_for_end(fetch("AAPL"))


def test_beat_tries_to_reach_its_broker_until_it_is_back(new_redis, start):
    new_redis.stop()
    with start(*without_pauses(BEAT), ready="Trying again in", CELERY_BROKER_URL=new_redis.url) as beat:
        wait_for_attempts(beat)
        assert "Message Error" not in output_of(beat)  # nothing that was due is dropped
        new_redis.start()
        redis = Redis.from_url(new_redis.url)
        wait_until(lambda: redis.llen("foreground") > 0, "the first message", process=beat)
