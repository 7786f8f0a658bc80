"""What the previous release left in the database and at the broker is finished after an upgrade."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial

import psycopg
import pytest
from django.db import connection
from django.db.models import F
from django_celery_beat.models import PeriodicTask
from redis import Redis

from market.models import Stock
from operations.local.child_processes import kill_group, wait_until
from tasks.models import BulkAction, Job, JobEvent
from tests.conftest import BRIDGE, WORKER, Start, Yahoo, database_url, output_of
from tests.faults.steps import BEAT, counts
from tests.support.invariants import check_jobs, check_nothing_was_lost
from tests.support.outbox import arrived
from tests.support.previous_release import PreviousRelease

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

EVERY_QUEUE = (*WORKER, "-Q", "foreground,background_fetch,background_analysis")
PATIENCE = 180.0

LOG_IN = """
from django.test import Client
answer = Client(SERVER_NAME="localhost").post("/accounts/login/", {"username": "demo", "password": "demo"})
assert answer.status_code == 302
"""
RERUN_ALL_FAILED = """
from django.contrib.auth.models import User
from django.test import Client
client = Client(SERVER_NAME="localhost")
client.force_login(User.objects.get(username="admin"))
form = {"action": "run_jobs_again", "select_across": "1", "confirmed": "yes", "_selected_action": ["all"]}
assert client.post("/admin/tasks/job/?status__exact=failed", form).status_code == 302
"""
LET_EVERY_SCHEDULE_BE_DUE = """
from datetime import timedelta
from django.utils import timezone
from django_celery_beat.models import PeriodicTask, PeriodicTasks
PeriodicTask.objects.update(last_run_at=timezone.now() - timedelta(days=8))
PeriodicTasks.update_changed()
"""


@pytest.fixture(scope="module")
def previous_release() -> PreviousRelease:
    release = PreviousRelease()
    release.install()
    return release


@pytest.fixture
def empty_database(django_db_setup, django_db_blocker, tmp_path) -> Iterator[None]:
    """A database without tables, in place of the tests' database."""
    settings = connection.settings_dict
    before = settings["NAME"]
    with django_db_blocker.unblock():
        connection.close()
        if connection.vendor == "postgresql":
            settings["NAME"] = "stockqueue_upgrade"
            with psycopg.connect(_server_url(), autocommit=True) as server:
                server.execute("CREATE DATABASE stockqueue_upgrade")
        else:
            settings["NAME"] = str(tmp_path / "upgrade.sqlite3")
        yield
        connection.close()
        settings["NAME"] = before
        if connection.vendor == "postgresql":
            with psycopg.connect(_server_url(), autocommit=True) as server:
                server.execute("DROP DATABASE stockqueue_upgrade WITH (FORCE)")


def _server_url() -> str:
    return database_url().rpartition("/")[0] + "/postgres"


def test_jobs_messages_and_schedules_of_the_previous_release_are_finished(
    previous_release, empty_database, new_redis, mosquitto_server, subscribe, configuration_file, start, yahoo
):
    before = {"CELERY_BROKER_URL": new_redis.url, "STOCKQUEUE_CONFIG": "job_processor.yml", **yahoo.server.environment}

    def run_before(*words: str, **environment: str) -> int:
        """A command of the previous release, as its user would give it; its exit code."""
        own = os.environ | before | {"DATABASE_URL": database_url()} | environment
        command = [previous_release.python, "manage.py", *words]
        return subprocess.run(command, cwd=previous_release.root, env=own, check=False).returncode

    start_before = partial(start, release=previous_release, **before)
    with Redis.from_url(new_redis.url) as redis:
        leave_work(run_before, start_before, redis, yahoo)
        assert {queue for queue, _ in messages(redis)} == set(Job.Queue.values)
    assert set(counts()) == set(Job.Status.values)
    schedules = sorted(PeriodicTask.objects.values_list("name", flat=True))
    ended = dict(Job.objects.filter(status__in=Job.ENDED).values_list("pk", "finished_at"))

    after = {
        "CELERY_BROKER_URL": new_redis.url,
        "MQTT_URL": mosquitto_server.url,
        "STOCKQUEUE_CONFIG": str(configuration_file(**{"worker.heartbeat_interval": 1})),
        **yahoo.server.environment,
    }
    with start("manage.py", "migrate", ready="Running migrations", **after) as migration:
        assert migration.wait(120) == 0
    with (
        subscribe(mosquitto_server, "stock/+/+") as seen,
        start(*EVERY_QUEUE, ready=" ready.", **after) as worker,
        start(*BEAT, ready="beat", **after) as beat,
        start(*BRIDGE, ready="connected to", **after),
    ):
        wait_until(has_all_ended, "the end of all jobs", timeout=PATIENCE)
        jobs = list(Job.objects.all())
        assert seen.wait_for(arrived(jobs), PATIENCE)
        assert "refused a message" not in output_of(worker)
        assert worker.poll() is None
        assert beat.poll() is None
    check_jobs(jobs)
    check_nothing_was_lost(seen.messages, jobs)
    assert dict(Job.objects.filter(pk__in=ended).values_list("pk", "finished_at")) == ended
    assert sorted(PeriodicTask.objects.values_list("name", flat=True)) == schedules
    assert BulkAction.objects.get().done == 1


def leave_work(run_before: Callable[..., int], start_before: Start, redis: Redis, yahoo: Yahoo) -> None:
    """Jobs in every status, messages in every queue, a killed worker, a bulk action, and schedules that are due."""
    assert run_before("migrate", "-v0") == 0
    assert run_before("loaddata", "demo", "-v0") == 0
    yahoo.serve("DONE", "RETRIED", "HELD", "CANCELLED", "CRASHED", *Stock.objects.values_list("symbol", flat=True))
    yahoo.misbehave("server_error", "RETRIED")

    for symbol in ("DONE", "UNKNOWN", "RETRIED", "CANCELLED"):
        assert run_before("fetch_stock", symbol) == 0
    cancelled = Job.objects.values_list("pk", flat=True).get(symbol="CANCELLED")  # other columns may not exist yet
    assert run_before("cancel_job", str(cancelled)) == 0
    assert run_before("analyse_stock", "AAPL") == 0
    waiting = Job.objects.filter(job_type=Job.Type.STOCK_ANALYSIS)
    waiting.update(queued_at=F("queued_at") - timedelta(days=30))
    with start_before(*WORKER, ready=" ready.") as worker:
        expected = {"DONE": "completed", "UNKNOWN": "failed", "RETRIED": "pending", "AAPL": "expired"}
        statuses = Job.objects.filter(symbol__in=expected)
        wait_until(lambda: dict(statuses.values_list("symbol", "status")) == expected, "the ends", timeout=PATIENCE)
        yahoo.server.hold_back()
        assert run_before("fetch_stock", "HELD") == 0
        wait_until(Job.objects.filter(symbol="HELD", status="running").exists, "the start of HELD")
        kill_group(worker)
        worker.wait()
    yahoo.server.release()
    yahoo.server.behave("RETRIED")

    assert run_before("shell", "-v0", "-c", LOG_IN) == 0
    assert run_before("scheduled_portfolio_update") == 0
    assert run_before("analyse_stock", "AAPL") == 0
    assert run_before("fetch_stock", "CRASHED", STOCKQUEUE_CRASH_AT="committed") == -signal.SIGKILL
    assert run_before("shell", "-v0", "-c", RERUN_ALL_FAILED) == 0
    assert run_before("shell", "-v0", "-c", LET_EVERY_SCHEDULE_BE_DUE) == 0
    due = set(PeriodicTask.objects.exclude(interval=None).values_list("task", flat=True))
    with start_before(*BEAT, ready="beat"):
        wait_until(lambda: due <= {task for _, task in messages(redis)}, "all due messages")


def messages(redis: Redis) -> list[tuple[str, str]]:
    """The queue and the task of each message that no worker has."""
    lists = [key for key in redis.scan_iter() if redis.type(key) == b"list"]
    found = [json.loads(message) for key in lists for message in redis.lrange(key, 0, -1)]
    return [(one["properties"]["delivery_info"]["routing_key"], one["headers"]["task"]) for one in found]


def has_all_ended() -> bool:
    return not (
        Job.objects.exclude(status__in=Job.ENDED).exists()
        or BulkAction.objects.filter(finished_at=None).exists()
        or JobEvent.objects.filter(published_at=None).exists()
    )
