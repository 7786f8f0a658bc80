"""Messages that nobody of ours would send: the worker refuses them, lives, and does the next job."""

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from celery import current_app
from kombu.connection import Connection
from redis import Redis

from market.jobs.requests import request_fetches
from market.models import Stock
from operations.local.child_processes import wait_until
from tasks.models import Job
from tests.conftest import WORKER, output_of
from tests.support.invariants import ENDS, check_jobs

pytestmark = pytest.mark.django_db(transaction=True)

FETCH = "stockqueue.stock_fetch"
HUGE = "x" * 8_000_000
NOBODY = "00000000-0000-4000-8000-000000000000"


def fetch(symbol: str) -> Job:
    stock, _ = Stock.objects.get_or_create(symbol=symbol)
    return request_fetches([stock], Job.Trigger.USER_REQUEST).created[0]


def publish(url: str, body: bytes | str, *, content_type: str = "application/json", **headers: object) -> None:
    """Put a message into `foreground`, as it is."""
    with Connection(url) as connection, connection.Producer() as producer:
        queue = current_app.amqp.queues["foreground"]
        producer.publish(
            body,
            exchange=queue.exchange,
            routing_key=queue.routing_key,
            declare=[queue],
            content_type=content_type,
            content_encoding="binary" if isinstance(body, bytes) else "utf-8",
            headers={"id": NOBODY, "task": FETCH, "lang": "py"} | headers,
            priority=0,
        )


class Malice:
    """Leaves a file where it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return os.mkdir, (str(self.file),)


def bad_messages(url: str, file: Path) -> list[str]:
    """Send them; what the worker must say of each."""
    pickled = pickle.dumps([[Malice(file)], {}, {}])
    body = json.dumps([[NOBODY], {}, {}])
    publish(url, "{not json")
    publish(url, pickled, content_type="application/x-python-serialize")
    publish(url, "[" * 100_000)
    payloads: list[Any] = [
        "text",
        1,
        None,
        {},
        {"args": [], "kwargs": {}},
        [],
        [1, 2, 3],
        [[], {}],
        [[NOBODY], None, {}],
    ]
    for payload in payloads:
        publish(url, json.dumps(payload))
    publish(url, json.dumps({"task": FETCH, "id": NOBODY, "args": [NOBODY]}), task=None)  # Celery's protocol 1
    for name in ("os.system", ["list"], "x\nCRITICAL forged", None):
        publish(url, body, task=name)
    for number in (None, ["list"], "no id\nCRITICAL forged", "x" * 10_000):
        publish(url, body, id=number)
    publish(url, body, eta="2999-01-01T00:00:00+00:00")
    publish(url, body, expires=["never"])
    publish(url, body, expires="never")
    publish(url, body, timelimit=["a", "b"])
    publish(url, body, shadow="x\nCRITICAL forged")
    publish(url, json.dumps([["too", "many"], {}, {}]))
    publish(url, json.dumps([[], {"job_id": NOBODY}, {}]))
    publish(url, json.dumps([[["nested"]], {}, {}]))
    publish(url, json.dumps([["no-uuid-%s\nCRITICAL forged"], {}, {}]))
    publish(url, json.dumps([[HUGE], {}, {}]))
    publish(url, json.dumps([[HUGE, 1], [HUGE], {}]))
    publish(url, json.dumps([[1], {}, {}]), task="stockqueue.sweep")
    publish(url, body)
    return [
        "refused a message: stockqueue.stock_fetch: 'Expecting property name",
        "Refusing to deserialize untrusted content of type pickle",
        "refused a message: stockqueue.stock_fetch: 'maximum recursion depth",
        "refused a message: stockqueue.stock_fetch: invalid arguments: 'text'",
        "refused a message: unknown task: 'os.system'",
        r"refused a message: unknown task: 'x\nCRITICAL forged'",
        r"refused a message: invalid task id: 'no id\nCRITICAL forged'",
        "refused a message: eta is not supported: '2999",
        "refused a message: invalid time limits: ['a', 'b']",
        "refused a message for stockqueue.stock_fetch: ('too', 'many') is not a job id",
        f"stock_fetch: {{'job_id': '{NOBODY}'}} is not a job id",
        "stock_fetch: (['nested'],) is not a job id",
        r"stock_fetch: ('no-uuid-%s\nCRITICAL forged',) is not a job id",
        "stock_fetch: ('xxxxxx",
        f"cannot claim job {NOBODY}",
        "refused a message: stockqueue.stock_fetch: invalid arguments: [['xxxxxx",
    ]


def test_bad_messages_are_refused_and_the_worker_goes_on(new_redis, point_to, start, yahoo, tmp_path):
    yahoo.serve("AAPL", "MSFT")
    point_to(new_redis.url)
    environment = {"CELERY_BROKER_URL": new_redis.url, **yahoo.server.environment}
    with start(*WORKER, ready=" ready.", **environment) as worker:
        first = fetch("AAPL")
        expected = bad_messages(new_redis.url, tmp_path / "unpickled")
        last = fetch("MSFT")
        ended = Job.objects.filter(status__in=ENDS)
        wait_until(lambda: ended.count() == 2, "the jobs", process=worker, timeout=60)
        wait_until(lambda: nothing_left(new_redis.url), "the refusal of all", process=worker)
        said = output_of(worker)
        assert [text for text in expected if text not in said] == []
        assert "\nCRITICAL" not in said
        assert len(said) < 1_000_000, "the huge message is in the log"
    assert not (tmp_path / "unpickled").exists()
    check_jobs([first, last], served=yahoo.server.closes)
    assert set(Job.objects.values_list("status", "attempt")) == {("completed", 1)}


def nothing_left(url: str) -> bool:
    """Neither waiting nor unacknowledged."""
    redis = Redis.from_url(url)
    return not any(redis.exists(key) for key in ("foreground", "unacked", "unacked_index"))


def test_two_workers_of_one_name_do_each_job_once(new_redis, point_to, start, yahoo):
    symbols = [f"S{number}" for number in range(20)]
    yahoo.serve(*symbols)
    yahoo.server.latency = 0.1
    point_to(new_redis.url)
    environment = {"CELERY_BROKER_URL": new_redis.url, **yahoo.server.environment}
    twin = (*WORKER, "-n", "same@here")
    with start(*twin, ready=" ready.", **environment), start(*twin, ready=" ready.", **environment):
        jobs = [fetch(symbol) for symbol in symbols]
        ended = Job.objects.filter(status__in=ENDS)
        wait_until(lambda: ended.count() == len(jobs), "the jobs", timeout=60)
    check_jobs(jobs, served=yahoo.server.closes)
    assert set(Job.objects.values_list("status", "attempt")) == {("completed", 1)}
    assert len(set(Job.objects.values_list("worker_id", flat=True))) == 2
