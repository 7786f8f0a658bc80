"""RabbitMQ is restarted while jobs run: each has one effect."""

from collections import Counter

import pytest

from tasks.delivery import broker
from tasks.models import Job
from tasks.upkeep.sweeper import sweep
from tests.conftest import WORKER
from tests.faults.steps import fetch, fetched, let_pass, wait_for_end
from tests.invariants import check_jobs

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_rabbitmq_is_restarted_in_mid_job(how, new_rabbit, point_to, start, yahoo):
    symbols = [f"S{number}" for number in range(6)]
    yahoo.serve(*symbols)
    point_to(new_rabbit.url)
    with start(*WORKER, ready=" ready.", CELERY_BROKER_URL=new_rabbit.url, **yahoo.server.environment):
        yahoo.server.hold_back()
        jobs = fetch(*symbols)
        yahoo.server.wait_for_requests(yahoo.seen_before + 2)
        new_rabbit.stop() if how == "stopped" else new_rabbit.kill()
        yahoo.server.release()
        wait_for_end(jobs[:1])  # jobs go on without their broker
        new_rabbit.start()
        broker.breaker.succeed()
        let_pass(60)
        sweep()
        wait_for_end(jobs)
    check_jobs(jobs, served=yahoo.server.closes)
    assert set(Job.objects.values_list("status", flat=True)) == {"completed"}
    assert fetched(yahoo) == Counter(symbols)
