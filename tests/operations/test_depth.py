"""The depth of each priority is what the broker holds, message by message, at random states that no worker changes."""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Any, NamedTuple

import pytest
from celery import current_app
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from kombu.connection import Connection
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from market.jobs.requests import request_analyses, request_fetches
from market.models import Stock
from operations.local.child_processes import wait_until
from operations.monitoring import health
from operations.monitoring.health import Readiness
from portfolio.fetching import fetch_scheduled
from tasks import control
from tasks.delivery import dispatch
from tasks.models import Job
from tasks.priority import BANDS, Factors, may_be_in

pytestmark = pytest.mark.django_db(transaction=True)

STATES = 10
STEPS = 10
"""What happens between two states."""
SEPARATOR = "\x06\x16"
"""Between a queue's name and the broker's number, in the keys that kombu keeps in Redis."""
SYMBOLS = [f"S{number:02}" for number in range(60)]
Trigger = Job.Trigger


class Message(NamedTuple):
    queue: str
    priority: int
    job_id: str


class RedisMessages:
    """Reads the lists that kombu keeps: one for each queue and number, 0 for priority 1."""

    def __init__(self, url: str) -> None:
        self._redis = Redis.from_url(url)

    def read(self) -> Iterator[Message]:
        for queue in Job.Queue.values:
            for number in range(10):
                for text in self._redis.lrange(f"{queue}{SEPARATOR}{number}" if number else queue, 0, -1):
                    message = json.loads(text)
                    assert message["properties"]["priority"] == number
                    yield Message(queue, number + 1, message["headers"]["id"])


class RabbitMessages:
    """Takes all messages, and puts them back. Their numbers are 10 for priority 1, 1 for priority 10."""

    def __init__(self, url: str) -> None:
        self._url = url
        with Connection(url) as connection:
            for queue in Job.Queue.values:
                current_app.amqp.queues[queue].bind(connection).declare()

    def read(self) -> Iterator[Message]:
        with Connection(self._url) as connection:
            for queue in Job.Queue.values:
                yield from self._read(connection.channel(), queue)

    def _read(self, channel: Any, queue: str) -> Iterator[Message]:
        def count() -> int:
            return int(channel.queue_declare(queue, passive=True).message_count)

        before = count()
        for _ in range(before):
            message = channel.basic_get(queue)
            yield Message(queue, 11 - message.properties["priority"], message.headers["id"])
        assert channel.basic_get(queue) is None
        channel.basic_recover(requeue=True)
        wait_until(lambda: count() == before, "all messages to be back")


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.servers) for name in ("redis", "rabbitmq")])
def messages(request, point_to, monkeypatch) -> Callable[[], list[Message]]:
    """messages(): all that wait at the broker, of either kind."""
    monkeypatch.setattr(dispatch, "IN_A_REQUEST", 20.0)  # on a busy machine, too, what is asked for is sent
    is_redis = request.param == "redis"
    server = request.getfixturevalue("new_redis" if is_redis else "empty_rabbit")
    point_to(server.url)
    reader = RedisMessages(server.url) if is_redis else RabbitMessages(server.url)
    return lambda: list(reader.read())


@pytest.fixture(autouse=True)
def servers_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """tests/operations/test_health.py looks at real ones, with time limits that a busy machine does not keep."""
    checks = {"database": health.OK, "broker": health.OK}
    monkeypatch.setattr(health, "database", lambda: health.OK)
    monkeypatch.setattr(health, "readiness", lambda: Readiness(health.OK, checks))


@pytest.fixture
def people(hold, django_user_model) -> list[User]:
    """Twelve, each of whom holds some of the stocks."""
    chance = random.Random(1)
    people = [django_user_model.objects.create_user(f"user{number}", password="secret") for number in range(12)]
    for one in people:
        hold(one, *chance.sample(SYMBOLS, chance.randrange(1, 9)))
    for symbol in SYMBOLS:
        Stock.objects.get_or_create(symbol=symbol)
    return people


class Life:
    """What people, schedules and admins do, at random."""

    def __init__(self, chance: random.Random, people: list[User]) -> None:
        self._chance, self._people = chance, people
        self.done: Counter[str] = Counter()

    def go_on(self) -> None:
        steps = [self.log_in, self.ask, self.fetch, self.schedule, self.backfill, self.analyse, self.cancel]
        for step in self._chance.choices([*steps, self.reprioritise], k=STEPS):
            step()
            self.done[step.__name__] += 1

    def log_in(self) -> None:
        assert Client().login(username=self._someone().username, password="secret")

    def ask(self) -> None:
        request_fetches(self._stocks(), Trigger.USER_REQUEST, self._someone(), factors=self._factors())

    def fetch(self) -> None:
        request_fetches(self._stocks(), Trigger.SCHEDULED_UPDATE, factors=self._factors())

    def schedule(self) -> None:
        fetch_scheduled()

    def backfill(self) -> None:
        start = date(2026, 1, 1) + timedelta(days=self._chance.randrange(9))
        request_fetches(self._stocks(), Trigger.USER_REQUEST, self._someone(), start=start, end=date(2026, 2, 1))

    def analyse(self) -> None:
        trigger = self._chance.choice([Trigger.BACKGROUND_ANALYSIS, Trigger.USER_REQUEST, Trigger.MAINTENANCE])
        request_analyses(self._stocks(), trigger, self._someone(), factors=self._factors())

    def cancel(self) -> None:
        control.cancel([job.pk for job in self._active(8)], "admin")

    def reprioritise(self) -> None:
        for job in self._active(4):
            queue = self._chance.choice(may_be_in(job.job_type, job.parameters))
            control.reprioritise([job.pk], self._chance.choice(BANDS[queue]), "admin")

    def _someone(self) -> User:
        return self._chance.choice(self._people)

    def _stocks(self) -> list[Stock]:
        return list(Stock.objects.filter(symbol__in=self._chance.sample(SYMBOLS, 5)).order_by("symbol"))

    def _factors(self) -> dict[str, Factors]:
        return {symbol: Factors(*[self._chance.choice([0.0, None, 1.0])] * 4) for symbol in SYMBOLS}

    def _active(self, at_most: int) -> list[Job]:
        active = list(Job.objects.active().order_by("created_at", "unique_key"))
        return self._chance.sample(active, min(len(active), at_most))


def depths_of_the_page(client: Client) -> Counter[tuple[str, int]]:
    page = client.get("/admin/operations/stockdata/figures/").context["page"]
    bars = ((card.queue, bar) for card in page.queues for bar in card.bars)
    return Counter({(queue, int(bar.label)): int(bar.figures[1].text) for queue, bar in bars})


def depths_of_the_metrics(client: Client) -> Counter[tuple[str, int]]:
    return Counter(
        {
            (sample.labels["queue"], int(sample.labels["priority"])): int(sample.value)
            for family in text_string_to_metric_families(client.get("/metrics").content.decode())
            for sample in family.samples
            if sample.name == "stockqueue_jobs" and sample.labels["state"] == "queued"
        }
    )


def test_the_depth_of_each_priority_is_what_the_broker_holds(messages, people, admin_client, capsys):
    """Without messages whose job has ended, or was promoted and has another one."""
    left_out: Counter[str] = Counter()
    life = Life(random.Random(2), people)
    for state in range(STATES):
        life.go_on()
        found = messages()
        jobs: dict[str, Job] = {str(job.pk): job for job in Job.objects.all()}
        waiting: set[Message] = set()
        for message in found:
            job = jobs[message.job_id]
            if job.finished_at is not None:
                left_out["ended"] += 1
            elif (job.queue, job.priority) != (message.queue, message.priority):
                assert job.events.filter(event="promoted").exists()
                left_out["promoted"] += 1
            else:
                waiting.add(message)
        queued = [job for job in jobs.values() if job.status == "queued"]
        assert waiting == {Message(job.queue, job.priority, str(job.pk)) for job in queued}, f"state {state}"
        expected = Counter((message.queue, message.priority) for message in waiting)
        assert depths_of_the_page(admin_client) == expected
        assert depths_of_the_metrics(admin_client) == expected
        held = Counter(message.queue for message in found)
        capsys.readouterr()
        call_command("job_stats", "--json")
        told: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert Counter({one["queue"]: one["broker_messages"] for one in told["queues"]}) == held
        assert Counter({(one["queue"], one["priority"]): one["queued"] for one in told["depths"]}) == expected
        assert min(left_out["ended"], left_out["promoted"]) > 0 or state == 0
    assert len(life.done) == 8
    assert {priority for _, priority in expected} > {1, 3, 4, 5, 7, 8}
    assert Job.objects.filter(status="pending").exists()
