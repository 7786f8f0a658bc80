"""The database cuts connections: workers notice it before a job does, and are there as before."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from celery import current_app
from django.db import connection
from django.utils import timezone
from redis import Redis

from operations.local.child_processes import wait_until
from tasks.delivery import broker
from tasks.models import Job
from tasks.upkeep.sweeper import sweep
from tests.conftest import output_of
from tests.faults.steps import BEAT, EVERY_QUEUE, let_pass, wait_for_end
from tests.support.gate import Gate
from tests.support.invariants import check_jobs
from tests.support.servers import RedisServer

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("config.getoption('database') != 'postgresql'", reason="SQLite has no connections to cut"),
]


@pytest.fixture
def gate(tmp_path):
    return Gate(tmp_path / "gate")


def cut_connections() -> int:
    """End all connections to the test database; how many there were. This process opens a new one when it needs it."""
    connection.close()
    return len(in_another_database("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"))


@contextmanager
def database_away() -> Iterator[None]:
    """PostgreSQL ends and refuses all connections to the test database while the block lasts."""
    allow = f"ALTER DATABASE {connection.settings_dict['NAME']} ALLOW_CONNECTIONS"
    in_another_database(f"{allow} false")
    try:
        cut_connections()
        yield
    finally:
        in_another_database(f"{allow} true")


def in_another_database(sql: str) -> list[Any]:
    """The rows of a statement, whose only parameter is the name of the test database."""
    found = connection.settings_dict
    names = [found["NAME"]] if "%s" in sql else []
    address = {"host": found["HOST"], "port": found["PORT"], "user": found["USER"], "dbname": "postgres"}
    with psycopg.connect(**address, autocommit=True) as other:
        cursor = other.execute(sql, names)
        return cursor.fetchall() if cursor.description else []


def nothing_left(server: RedisServer) -> bool:
    """No message waits in the broker, or is not acknowledged."""
    return Redis.from_url(server.url).exists(*Job.Queue.values, "unacked", "unacked_index") == 0


def test_idle_workers_whose_connections_were_cut_do_the_next_jobs_at_once(new_redis, point_to, start, gate):
    gate.open(1)
    point_to(new_redis.url)
    with start(*EVERY_QUEUE, ready=" ready.", CELERY_BROKER_URL=new_redis.url) as worker:
        wait_for_end(gate.request(*(f"B{number}" for number in range(10))))
        assert cut_connections() >= 2
        jobs = gate.request(*(f"S{number}" for number in range(60)))
        wait_for_end(jobs)
        wait_until(lambda: nothing_left(new_redis), "the acknowledgement of all messages")
        assert "OperationalError" not in output_of(worker)
    check_jobs(jobs)
    assert set(Job.objects.values_list("status", "attempt")) == {("completed", 1)}


@pytest.mark.parametrize("how", ["its process dies", "its process is killed at the time limit"])
def test_a_lost_job_is_given_up_at_once_though_the_connection_of_the_main_process_was_cut(
    new_redis, point_to, start, gate, configured, monkeypatch, how
):
    """The main process opens that connection when it notes the first lost job."""
    if how == "its process is killed at the time limit":
        monkeypatch.setattr(broker, "KILL_AFTER", 1)
        configured(**{"jobs.timeouts.stock_analysis": 1})
    gate.open(2)
    point_to(new_redis.url)
    with start(*EVERY_QUEUE, "-c", "1", ready=" ready.", CELERY_BROKER_URL=new_redis.url) as worker:
        jobs = []
        for symbol in ("AAPL", "MSFT"):
            (lost,) = gate.request(symbol, stubborn=True)
            jobs.append(lost)
            process = gate.wait_for(lost, 1)
            cut_connections()
            if how == "its process dies":
                os.kill(process, signal.SIGKILL)
            gate.wait_for(lost, 2, timeout=30)
            wait_for_end(jobs)
        wait_until(lambda: nothing_left(new_redis), "the acknowledgement of all messages")
        said = output_of(worker)
    check_jobs(jobs)
    assert [
        text for text in ("Pool callback raised", "will rescue", "could not store the result") if text in said
    ] == []


def test_a_worker_outlives_messages_that_have_expired_while_the_database_is_away(new_redis, point_to, start, gate):
    """Its main process notes each of them as a TaskResult."""
    gate.open(1)
    point_to(new_redis.url)
    with start(*EVERY_QUEUE, ready=" ready.", CELERY_BROKER_URL=new_redis.url) as worker:
        wait_for_end(gate.request("AAPL"))
        with database_away():
            for _ in range(10):
                current_app.send_task("stockqueue.market_data", queue="foreground", expires=timezone.now())
            wait_until(lambda: nothing_left(new_redis), "the acknowledgement of all messages", process=worker)
        jobs = gate.request("MSFT")
        wait_for_end(jobs)
    check_jobs(jobs)


def test_jobs_whose_messages_came_while_the_database_was_away_are_done_when_it_is_back(
    new_redis, point_to, start, gate
):
    gate.open(1)
    point_to(new_redis.url)
    with start(*EVERY_QUEUE, ready=" ready.", CELERY_BROKER_URL=new_redis.url) as worker:
        wait_for_end(gate.request("AAPL"))
        os.killpg(worker.pid, signal.SIGSTOP)
        jobs = gate.request(*(f"S{number}" for number in range(6)))
        with database_away():
            os.killpg(worker.pid, signal.SIGCONT)
            wait_until(lambda: nothing_left(new_redis), "the failure of all claims", process=worker)
        let_pass(21)
        assert sweep() == 6
        wait_for_end(jobs)
    check_jobs(jobs)
    assert set(Job.objects.values_list("status", "attempt")) == {("completed", 1)}


def test_beat_goes_on_when_it_could_not_read_its_schedules(new_redis, start):
    command = [word.replace("stockqueue", "tests.faults.short_sync") for word in (*BEAT, "--loglevel", "DEBUG")]
    sends = "Sending due task Sweep"
    with start(*command, ready=sends, CELERY_BROKER_URL=new_redis.url) as beat:
        with database_away():
            cannot = "could not read the schedules"
            wait_until(lambda: output_of(beat).count(cannot) >= 2, "two attempts", process=beat, timeout=60)
        sent = output_of(beat).count(sends)
        wait_until(lambda: output_of(beat).count(sends) > sent, "the next sweep", process=beat, timeout=60)
