"""Each Celery worker says in the database that it is there, and how it ends shows."""

import os
import re
import signal
import subprocess
import threading
from datetime import timedelta

import pytest
from django.db import OperationalError
from django.db.models import F
from django.urls import reverse
from django.utils import timezone

from console.dashboard import views
from operations.local.child_processes import wait_until
from tasks.celery_worker import registry
from tasks.models import Worker
from tasks.running import heartbeat
from tests.support.workers import new_worker

pytestmark = pytest.mark.django_db(transaction=True)

QUICK = {"worker.heartbeat_interval": 1}
WORKER = ("-m", "celery", "-A", "stockqueue", "worker", "-n", "presence@%h", "--loglevel", "INFO", "--without-mingle")
IN_TIME = 30.0


@pytest.fixture
def run(new_redis, start, configured):
    """run(*options, **configuration): a worker with a heartbeat a second, and its row."""

    def run(*options, **values):
        file = configured(**QUICK, **values)
        return start(*WORKER, *options, ready=" ready.", CELERY_BROKER_URL=new_redis.url, STOCKQUEUE_CONFIG=str(file))

    return run


def the_worker() -> "registry.KnownWorker":
    """That of this file; the one of other files may be there as well."""
    ours = registry.workers().filter(worker_id__startswith="presence@")
    wait_until(ours.exists, "a worker's row")
    return ours.get()


def wait_for_state(state: str) -> None:
    wait_until(lambda: the_worker().state == state, f"a worker that is {state}")


def wait_for_heartbeat() -> None:
    before = the_worker().heartbeat_at
    wait_until(lambda: the_worker().heartbeat_at > before, "a heartbeat")


def check_that_it_stops_in_good_order(process: "subprocess.Popen[bytes]", how: signal.Signals) -> None:
    process.send_signal(how)
    process.wait(IN_TIME)
    found = the_worker()
    assert (found.state, found.stopped_at) == ("stopped", found.heartbeat_at)


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_worker_without_work_says_what_it_is_that_it_lives_and_that_it_ends(run, pool):
    values = {"worker.name": "Analyst", "worker.capabilities": ["big"], "worker.supported_job_types": ["stock_fetch"]}
    with run("-P", pool, "-c", "2", **values) as process:
        found = the_worker()
        assert found.pid == process.pid
        assert found.worker_id == f"presence@{found.hostname}:{process.pid}"
        assert (found.name, found.capabilities, found.job_types) == ("Analyst", ["big"], ["stock_fetch"])
        assert sorted(found.queues) == ["background_fetch", "foreground"]
        assert found.concurrency == (1 if pool == "solo" else 2)
        assert (found.state, found.stopped_at, found.told) == ("alive", None, "")
        assert abs(timezone.now() - found.started_at) < timedelta(seconds=60)
        for _ in range(3):
            wait_for_heartbeat()
        assert the_worker().started_at == found.started_at
        check_that_it_stops_in_good_order(process, signal.SIGTERM)


def test_a_worker_is_there_again_after_it_was_held_up_and_after_its_row_was_deleted(run):
    with run("-c", "1") as process:
        before = the_worker()
        wait_for_heartbeat()  # so that it holds no lock while it is held up
        os.killpg(process.pid, signal.SIGSTOP)
        try:
            wait_for_state("gone")
        finally:
            os.killpg(process.pid, signal.SIGCONT)
        wait_for_state("alive")
        assert the_worker().started_at == before.started_at
        the_worker().delete()
        assert the_worker().state == "alive"
        check_that_it_stops_in_good_order(process, signal.SIGQUIT)


def test_with_the_shipped_heartbeat_a_killed_worker_is_shown_as_gone_in_under_a_minute():
    """tests/operations/test_alerts.py kills one."""
    assert heartbeat.patience().total_seconds() + views.REFRESH_SECONDS < 60


def test_an_outage_of_the_database_is_told_once_and_survived(configured, monkeypatch, caplog):
    configured(**{"worker.heartbeat_interval": 0.1})
    monkeypatch.setattr(registry, "RETRY_PAUSE", 0.01)
    is_away, refused = threading.Event(), []

    def refuse(self) -> None:
        if is_away.is_set():
            refused.append(1)
            raise OperationalError("the server is away\n\tIs it running?")
        renew(self)

    renew = registry._Presence._renew
    monkeypatch.setattr(registry._Presence, "_renew", refuse)
    is_away.set()
    registry.enter(Worker(worker_id="presence@here:1", hostname="here", pid=1, queues=["foreground"], concurrency=1))
    wait_until(lambda: len(refused) > 3, "attempts")
    assert not Worker.objects.filter(hostname="here").exists()
    is_away.clear()
    wait_for_heartbeat()
    assert len(caplog.records) == 1
    is_away.set()
    wait_until(lambda: len(caplog.records) == 2, "the second outage")
    is_away.clear()
    wait_for_heartbeat()
    registry.leave(10)
    assert the_worker().state == "stopped"
    assert [record.getMessage() for record in caplog.records] == [
        "worker presence@here:1 cannot renew its heartbeat: the server is away"
    ] * 2


def test_a_worker_with_the_id_of_an_earlier_one_is_registered_anew(configured):
    long_ago = timezone.now() - timedelta(hours=1)
    earlier = new_worker(
        "presence@here:1", started_at=long_ago, heartbeat_at=long_ago, stopped_at=long_ago, told="registered"
    )
    registry.enter(
        Worker(worker_id=earlier.worker_id, hostname="here", pid=1, queues=["background_fetch"], concurrency=3)
    )
    wait_until(lambda: the_worker().state == "alive", "the new worker")
    found = the_worker()
    assert (found.told, found.queues, found.concurrency) == ("", ["background_fetch"], 3)
    assert found.started_at > long_ago
    assert found.pk != earlier.pk
    registry.leave(10)


def test_workers_are_judged_by_the_clock_of_the_database(monkeypatch):
    new_worker("alive@here:1")
    new_worker("late@here:1")
    Worker.objects.filter(worker_id="late@here:1").update(
        heartbeat_at=F("heartbeat_at") - heartbeat.patience() - timedelta(seconds=5)
    )
    new_worker("future@here:1")
    Worker.objects.filter(worker_id="future@here:1").update(heartbeat_at=F("heartbeat_at") + timedelta(hours=1))
    new_worker("stopped@here:1", stopped_at=timezone.now())
    monkeypatch.setattr(timezone, "now", lambda: pytest.fail("the clock of this machine was asked"))
    ours = registry.workers().filter(hostname="here")
    assert dict(ours.values_list("worker_id", "state")) == {
        "alive@here:1": "alive",
        "late@here:1": "gone",
        "future@here:1": "gone",
        "stopped@here:1": "stopped",
    }


def test_the_admin_shows_workers_and_those_that_are_gone(admin_client):
    new_worker("alive@here:1", name="Quick one", queues=["foreground", "background_fetch"])
    gone = new_worker("gone@here:2", heartbeat_at=timezone.now() - timedelta(minutes=5))
    page = admin_client.get(reverse("admin:tasks_worker_changelist")).content.decode()
    for shown in ("alive@here:1", "Quick one", "foreground, background_fetch", "gone@here:2"):
        assert shown in page
    table = page.partition('id="result_list"')[2].partition("</table>")[0]
    assert set(re.findall(r">\s*(alive|gone|stopped)\s*<", table, re.IGNORECASE)) == {"alive", "gone"}
    assert "gone" in admin_client.get(reverse("admin:tasks_worker_change", args=[gone.pk])).content.decode()
    assert admin_client.get(reverse("admin:tasks_worker_add")).status_code == 403
