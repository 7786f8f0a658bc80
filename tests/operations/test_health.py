"""Whether the web server lives and can serve users, as load balancers and monitors ask."""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client

from operations.monitoring import health
from tests.support.promptly import promptly
from tests.support.servers import PostgresServer

pytestmark = pytest.mark.django_db(transaction=True)

AWAY = "does not answer"


@pytest.fixture(autouse=True)
def new_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer to an earlier test's question."""
    monkeypatch.setattr(health, "_database", health._Check(health._look_at_database))
    monkeypatch.setattr(health, "_broker", health._Check(health._look_at_broker))


@pytest.fixture
def database_at() -> Iterator[Callable[[PostgresServer], None]]:
    """database_at(server): where new connections go, until the test ends."""
    before = {name: connection.settings_dict[name] for name in ("HOST", "PORT", "NAME")}

    def move(server: PostgresServer) -> None:
        connection.settings_dict.update(HOST=server.host, PORT=server.port, NAME=server.database)

    yield move
    connection.settings_dict.update(before)


def ask(client: Client, path: str) -> tuple[int, dict[str, Any]]:
    with promptly():
        answer = client.get(path)
    assert answer["Cache-Control"].startswith("max-age=0")
    return answer.status_code, json.loads(answer.content)


def ready(client: Client) -> tuple[int, dict[str, Any]]:
    return ask(client, "/health/ready")


def test_it_is_ready_while_database_and_broker_answer(client, broker):
    assert ready(client) == (200, {"status": "ok", "checks": {"database": "ok", "broker": "ok"}})


def test_rabbitmq_is_asked_as_well(client, rabbit_server, point_to):
    point_to(rabbit_server.url)
    assert ready(client)[1]["checks"]["broker"] == "ok"


def test_it_lives_without_asking_the_database(client, django_assert_num_queries):
    with django_assert_num_queries(0):
        assert ask(client, "/health/live") == (200, {"status": "ok", "checks": {}})


def test_it_lives_while_database_and_broker_are_away(client, point_to, monkeypatch):
    point_to("redis://127.0.0.1:1/0")
    monkeypatch.setattr(connection, "ensure_connection", _refuse)
    assert ask(client, "/health/live")[0] == 200


def _refuse() -> None:
    raise AssertionError("the database was asked")


def test_it_is_not_ready_without_a_broker_where_nothing_stands_in(client, point_to):
    point_to("redis://127.0.0.1:1/0")
    assert ready(client) == (503, {"status": "unavailable", "checks": {"database": "ok", "broker": AWAY}})


def test_users_are_served_without_a_broker_where_this_process_stands_in(client, point_to, direct_processing):
    point_to("redis://127.0.0.1:1/0")
    code, body = ready(client)
    assert (code, body["status"]) == (200, "degraded")
    assert body["checks"]["broker"] == "does not answer; this process runs the jobs of waiting users"


def test_a_broker_that_hangs_is_waited_for_one_second_and_found_when_it_goes_on(client, new_redis, point_to):
    point_to(new_redis.url)
    assert ready(client)[0] == 200
    new_redis.pause()
    assert ready(client)[1]["checks"]["broker"] == AWAY
    new_redis.resume()
    wait_until_ready(client)


def wait_until_ready(client: Client) -> None:
    deadline = time.monotonic() + 10
    while ready(client)[0] != 200:
        assert time.monotonic() < deadline, "not ready again"


def test_direct_processing_needs_no_broker(client, configured, point_to):
    configured(**{"queue.backend": "direct"})
    point_to("redis://127.0.0.1:1/0")
    assert ready(client) == (200, {"status": "ok", "checks": {"database": "ok", "broker": "direct processing"}})


def test_a_database_without_the_newest_migration_is_not_ready(client, broker):
    newest = MigrationRecorder.Migration.objects.filter(app="tasks").order_by("-name")[:1].get()
    newest.delete()
    try:
        assert ready(client) == (
            503,
            {"status": "unavailable", "checks": {"database": "is not migrated", "broker": "ok"}},
        )
    finally:
        newest.save()


def test_a_look_at_the_database_leaves_no_connection_open():
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(health._look_at_database).result(10) == health.OK
        assert thread.submit(lambda: connection.connection).result(10) is None


def test_a_database_that_cannot_be_opened_is_no_traceback_and_its_address_is_not_told(
    client, broker, monkeypatch, caplog
):
    monkeypatch.setitem(connection.settings_dict, "NAME", "/nonexistent/secret.sqlite3")
    caplog.set_level(logging.WARNING)
    code, body = ready(client)
    assert (code, body) == (503, {"status": "unavailable", "checks": {"database": AWAY, "broker": "ok"}})
    assert caplog.messages
    assert not any("Traceback" in message for message in caplog.messages)
    answer = client.get("/metrics")
    assert (answer.status_code, answer.content.decode()) == (503, "The database does not answer.\n")


@pytest.mark.skipif("config.getoption('database') != 'postgresql'", reason="SQLite has no server")
def test_a_postgresql_that_stops_or_hangs_is_told_within_a_second_and_found_when_it_is_back(
    client, broker, database_at, monkeypatch
):
    monkeypatch.setattr(health, "_newest_migrations", frozenset)  # the other server has no tables
    with PostgresServer() as other:
        database_at(other)
        assert ready(client)[0] == 200
        for stop, start in ((other.stop, other.start), (other.pause, other.resume)):
            stop()
            assert ready(client)[1]["checks"]["database"] == AWAY
            assert client.get("/metrics").status_code == 503
            start()
            wait_until_ready(client)


def test_many_who_ask_at_once_make_one_look():
    looks, may_end = [], threading.Event()

    def look() -> str:
        looks.append(may_end.wait(5))
        return health.OK

    check = health._Check(look)
    answers = [check.begin() for _ in range(50)]
    may_end.set()
    assert [answer.result(5) for answer in answers] == [health.OK] * 50
    assert looks == [True]


def test_health_can_be_switched_off(client, configured):
    configured(**{"monitoring.health_check_enabled": False})
    assert client.get("/health/live").status_code == 404
    assert client.get("/health/ready").status_code == 404


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
def test_health_is_only_read(client, path):
    assert client.post(path).status_code == 405
