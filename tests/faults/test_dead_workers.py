"""Workers and their children that die, hang or lose their job: it is done by another, once."""

import os
import signal
import time
from contextlib import suppress

import pytest
from django.test import Client

from market.jobs.requests import request_fetches
from market.models import Stock
from operations.local.child_processes import kill_group, wait_until
from tasks.models import Job
from tests.conftest import WORKER, output_of
from tests.support.gate import Gate, effect_of, request_deadly
from tests.support.invariants import ENDS, check_jobs

pytestmark = pytest.mark.django_db(transaction=True)

# Mingling only costs a second here: it asks the other workers which tasks were revoked.
ANALYST = (*WORKER, "-Q", "foreground,background_analysis", "-I", "tests.support.works", "--without-mingle")

BEAT = ("-m", "celery", "-A", "stockqueue", "beat", "--pidfile", "")

QUICK = {"worker.heartbeat_interval": 1}
heartbeats = pytest.mark.parametrize(
    "values", [pytest.param(QUICK, id="quick"), pytest.param({}, id="default", marks=pytest.mark.long)]
)


@pytest.fixture
def gate(tmp_path):
    return Gate(tmp_path / "gate")


def fetch(symbol: str) -> Job:
    stock, _ = Stock.objects.get_or_create(symbol=symbol)
    return request_fetches([stock], Job.Trigger.USER_REQUEST).created[0]


def child_of(pid: int) -> int:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        (child,) = map(int, file.read().split())
    return child


def wait_for_end(*jobs: Job, timeout: float = 60.0) -> None:
    ended = Job.objects.filter(pk__in=[job.pk for job in jobs], status__in=ENDS)
    wait_until(lambda: ended.count() == len(jobs), f"the end of {len(jobs)} jobs", timeout=timeout)


def wait_for_attempt(job: Job, attempt: int, timeout: float) -> float:
    """Wait for a job's attempt to run; the seconds that it took."""
    begin = time.monotonic()
    running = Job.objects.filter(pk=job.pk, status=Job.Status.RUNNING, attempt=attempt)
    wait_until(running.exists, f"attempt {attempt}", timeout=timeout)
    return time.monotonic() - begin


def wait_for_heartbeat(job: Job) -> None:
    """Wait until the job's heartbeat has just been written, so that its worker is not writing now."""
    later = Job.objects.filter(pk=job.pk, heartbeat_at__gt=Job.objects.get(pk=job.pk).heartbeat_at)
    wait_until(later.exists, "a heartbeat")


def test_a_job_whose_process_dies_is_done_by_another_within_seconds(
    new_redis, point_to, start, yahoo, record_property
):
    yahoo.serve("AAPL")
    point_to(new_redis.url)
    one = (*WORKER, "-c", "1")
    with start(*one, ready=" ready.", CELERY_BROKER_URL=new_redis.url, **yahoo.server.environment) as worker:
        yahoo.server.hold_back()
        job = fetch("AAPL")
        yahoo.server.wait_for_requests(yahoo.seen_before + 1)
        os.kill(child_of(worker.pid), signal.SIGKILL)
        seconds = wait_for_attempt(job, 2, timeout=10)
        record_property("seconds", seconds)
        print(f"attempt 2 began {seconds:.2f} s after the process was killed")
        yahoo.server.release()
        wait_for_end(job)
        assert worker.poll() is None
    check_jobs([job], served=yahoo.server.closes)
    job.refresh_from_db()
    assert (job.status, job.attempt, job.retries) == ("completed", 2, 1)


@pytest.mark.parametrize(
    "number",
    [signal.SIGKILL, signal.SIGTERM, pytest.param(signal.SIGSEGV, marks=pytest.mark.long)],
    ids=lambda number: number.name,
)
def test_the_other_jobs_of_a_worker_do_not_notice_that_a_process_dies(new_redis, point_to, start, gate, number):
    point_to(new_redis.url)
    with start(*ANALYST, ready=" ready.", CELERY_BROKER_URL=new_redis.url):
        victim, bystander = gate.request("AAPL", "MSFT")
        gate.wait_for(bystander, 1)
        os.kill(gate.wait_for(victim, 1), number)
        gate.wait_for(victim, 2, timeout=10)
        gate.open(1)
        gate.open(2)
        wait_for_end(victim, bystander)
    check_jobs([victim, bystander])
    assert (effect_of(victim), effect_of(bystander)) == ("2", "1")


@heartbeats
def test_the_jobs_of_a_worker_that_dies_are_done_by_another_within_a_minute(
    new_redis, point_to, start, gate, configured, record_property, values
):
    point_to(new_redis.url)
    environment = {"CELERY_BROKER_URL": new_redis.url, "STOCKQUEUE_CONFIG": str(configured(**values))}
    with start(*ANALYST, ready=" ready.", **environment) as first:
        lost = gate.request("AAPL", "MSFT")
        for job in lost:
            gate.wait_for(job, 1)
        behind = gate.request("GOOG", "AMZN")  # their messages wait
        with start(*ANALYST, ready=" ready.", **environment), start(*BEAT, ready="beat", **environment):
            kill_group(first)
            begin = time.monotonic()
            gate.open(1)
            for job in lost:
                gate.wait_for(job, 2)
            seconds = time.monotonic() - begin
            record_property("seconds", seconds)
            print(f"all were started again {seconds:.1f} s after the worker was killed")
            gate.open(2)
            wait_for_end(*lost, *behind)
    assert seconds < 60
    check_jobs([*lost, *behind])
    assert [effect_of(job) for job in lost] == ["2", "2"]
    assert [effect_of(job) for job in behind] == ["1", "1"]


@pytest.mark.parametrize("retries", [1, pytest.param(3, marks=pytest.mark.long)])
def test_a_job_that_always_kills_its_process_fails_after_the_allowed_attempts(
    new_redis, point_to, start, gate, configuration_file, retries
):
    point_to(new_redis.url)
    file = configuration_file(**{"jobs.max_retries": retries})
    with start(*ANALYST, ready=" ready.", CELERY_BROKER_URL=new_redis.url, STOCKQUEUE_CONFIG=str(file)) as worker:
        deadly = request_deadly("AAPL")
        wait_for_end(deadly)
        (harmless,) = gate.request("MSFT")
        gate.open(1)
        wait_for_end(harmless)
        assert worker.poll() is None
    check_jobs([deadly, harmless])
    deadly.refresh_from_db()
    assert (deadly.status, deadly.attempt, deadly.retries) == ("failed", retries + 1, retries)
    assert deadly.error == "the worker process died"
    assert effect_of(harmless) == "1"


@pytest.mark.parametrize(
    ("point", "status", "attempts"), [("claimed", "failed", 2), ("worked", "failed", 2), ("ended", "completed", 1)]
)
def test_wherever_a_process_dies_there_is_the_whole_effect_or_none(
    new_redis, point_to, start, yahoo, configuration_file, point, status, attempts
):
    yahoo.serve("AAPL")
    once_more = configuration_file(**{"stock_jobs.data_fetch.max_retries": 1})
    point_to(new_redis.url)
    one = (*WORKER, "-c", "1")
    environment = {
        "CELERY_BROKER_URL": new_redis.url,
        "STOCKQUEUE_CONFIG": str(once_more),
        "STOCKQUEUE_CRASH_AT": point,
        **yahoo.server.environment,
    }
    with start(*one, ready=" ready.", **environment) as worker:
        job = fetch("AAPL")
        wait_for_end(job)
        wait_until(lambda: output_of(worker).count("exited prematurely") >= attempts, f"{attempts} lost processes")
    check_jobs([job], served=yahoo.server.closes)
    job.refresh_from_db()
    assert (job.status, job.attempt) == (status, attempts)
    assert Stock.objects.get().bars.exists() == (status == "completed")


def test_a_job_that_outlives_the_visibility_timeout_has_one_effect(new_redis, point_to, start, gate):
    point_to(new_redis.url)
    impatient = (*ANALYST, "-c", "1", "-I", "tests.support.works,tests.faults.short_visibility")
    with start(*impatient, ready=" ready.", CELERY_BROKER_URL=new_redis.url):
        (job,) = gate.request("AAPL")
        gate.wait_for(job, 1)
        with start(*impatient, ready=" ready.", CELERY_BROKER_URL=new_redis.url) as second:
            wait_until(lambda: f"cannot claim job {job.pk}" in output_of(second), "the message's second delivery")
            gate.open(1)
            wait_for_end(job)
    check_jobs([job])
    assert effect_of(job) == "1"


@heartbeats
def test_a_worker_that_was_stopped_and_goes_on_does_not_write_what_another_has_done(
    new_redis, point_to, start, gate, configured, admin_user, values
):
    point_to(new_redis.url)
    environment = {"CELERY_BROKER_URL": new_redis.url, "STOCKQUEUE_CONFIG": str(configured(**values))}
    with start(*ANALYST, ready=" ready.", **environment) as stopped:
        (job,) = gate.request("AAPL")
        gate.wait_for(job, 1)
        with start(*ANALYST, ready=" ready.", **environment), start(*BEAT, ready="beat", **environment):
            wait_for_heartbeat(job)
            os.killpg(stopped.pid, signal.SIGSTOP)
            try:
                gate.wait_for(job, 2)
                gate.open(2)
                wait_for_end(job)
                before = list(job.events.values())
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(stopped.pid, signal.SIGCONT)
            gate.open(1)
            refused = f"job {job.pk}, attempt 1 was cancelled or given to another worker; its result is discarded"
            wait_until(lambda: refused in output_of(stopped), "the refusal")
    check_jobs([job])
    assert list(job.events.values()) == before
    assert effect_of(job) == "2"
    client = Client()
    client.force_login(admin_user)
    page = client.get(f"/admin/tasks/job/{job.pk}/change/").content.decode()
    assert "attempt-2" in page
    assert "attempt-1" not in page
