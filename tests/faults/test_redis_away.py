"""Redis dies, forgets, hangs, is half open or full: jobs wait or are done here, and workers resume by themselves."""

import time
from contextlib import ExitStack

import pytest
from redis import Redis

from operations.local.child_processes import wait_until
from tasks.delivery import broker as celery_broker
from tasks.delivery import direct
from tasks.delivery.dispatch import dispatch
from tasks.models import Job
from tasks.upkeep.sweeper import sweep
from tests.conftest import WORKER, output_of
from tests.faults.steps import BEAT, EVERY_QUEUE, counts, fetch, fetched, let_pass, log_in, wait_for_end
from tests.support.gate import Gate, effect_of
from tests.support.invariants import check_jobs
from tests.support.promptly import promptly
from tests.support.servers import RedisServer
from tests.support.stalling_proxy import StallingProxy

pytestmark = pytest.mark.django_db(transaction=True)

OUTAGES = [
    pytest.param(2, 1.0, id="short"),
    pytest.param(5, 60.0, id="a minute, five times", marks=[pytest.mark.long, pytest.mark.timeout(1_200)]),
]


@pytest.mark.parametrize("by", ["sweep", pytest.param("beat", marks=pytest.mark.long)])
def test_a_thousand_jobs_that_redis_forgot_are_all_done_once(point_to, start, tmp_path, configured, by):
    environment = {
        "STOCKQUEUE_CONFIG": str(configured(**{"queue.priority_queues.background_analysis.max_jobs": 2_000}))
    }
    gate = Gate(tmp_path / "gate")
    with RedisServer() as forgetful, ExitStack() as processes:
        point_to(forgetful.url)
        environment["CELERY_BROKER_URL"] = forgetful.url
        worker = processes.enter_context(start(*EVERY_QUEUE, ready=" ready.", **environment))
        if by == "beat":
            processes.enter_context(start(*BEAT, ready="beat", **environment))
        begun = gate.request("A0", "A1")
        for job in begun:
            gate.wait_for(job, 1)
        waiting = gate.request(*(f"S{number}" for number in range(1_000)))
        dispatch(Job.Queue.BACKGROUND_ANALYSIS)  # what a request had no time to send
        assert counts() == {"running": 2, "queued": 1_000}
        forgetful.kill()
        forgetful.start()
        gate.open(1)
        wait_for_end(begun)
        if by == "sweep":
            wait_until(lambda: output_of(worker).count("Connected to") == 2, "the worker's return")
            assert counts() == {"completed": 2, "queued": 1_000}
            let_pass(21)
            assert sweep() == 1_000
        wait_for_end(waiting, timeout=120)
        assert worker.poll() is None
    check_jobs([*begun, *waiting])
    assert {effect_of(job) for job in (*begun, *waiting)} == {"1"}


@pytest.mark.parametrize(("times", "seconds"), OUTAGES)
def test_workers_and_beat_resume_by_themselves_after_redis_was_down(new_redis, point_to, start, yahoo, times, seconds):
    point_to(new_redis.url)
    environment = {"CELERY_BROKER_URL": new_redis.url, **yahoo.server.environment}
    jobs: list[Job] = []
    with (
        start(*WORKER, ready=" ready.", **environment) as worker,
        start(*BEAT, ready="beat", **environment) as beat,
    ):
        for number in range(times):
            before, meanwhile = f"B{number}", f"M{number}"
            yahoo.serve(before, meanwhile)
            yahoo.server.hold_back()
            running = fetch(before)
            wait_until(Job.objects.filter(symbol=before, status="running").exists, "a job that runs")
            new_redis.stop() if number % 2 else new_redis.kill()
            waiting = fetch(meanwhile)
            assert counts()["pending"] == 1
            yahoo.server.release()
            wait_for_end(running)  # without a broker
            time.sleep(seconds)
            new_redis.start()
            began = time.monotonic()
            wait_for_end(waiting, timeout=60)
            print(f"outage {number}: all was done {time.monotonic() - began:.1f} s after its end")
            jobs += running + waiting
        assert (worker.poll(), beat.poll()) == (None, None)
    check_jobs(jobs, served=yahoo.server.closes)
    assert set(fetched(yahoo).values()) == {1}


@pytest.mark.parametrize(
    "how", ["stalls for a while", pytest.param("forgets its connections", marks=pytest.mark.long)]
)
def test_workers_recover_from_a_half_open_redis_within_a_minute(new_redis, point_to, start, yahoo, how):
    """In one case connections go on in the end, in the other they are dead without a word, and new ones work."""
    yahoo.serve("AAPL", "MSFT")
    point_to(new_redis.url)
    with StallingProxy(new_redis.host, new_redis.port) as proxy:
        environment = {
            "CELERY_BROKER_URL": f"redis://127.0.0.1:{proxy.port}/0",
            **yahoo.server.environment,
        }
        with (
            start(*WORKER, ready=" ready.", **environment) as worker,
            start(*BEAT, ready="beat", **environment) as beat,
        ):
            jobs = fetch("AAPL")
            wait_for_end(jobs)
            if how == "forgets its connections":
                proxy.forget()
            else:
                held = proxy.held
                proxy.hold_back()
                wait_until(lambda: proxy.held > held, "an answer that is kept back")
            new_redis.pause()
            jobs += fetch("MSFT")  # which this process cannot send either
            new_redis.resume()
            time.sleep(3)
            began = time.monotonic()
            proxy.release()
            wait_for_end(jobs, timeout=60)
            print(f"all was done {time.monotonic() - began:.1f} s later")
            assert (worker.poll(), beat.poll()) == (None, None)
    check_jobs(jobs, served=yahoo.server.closes)


@pytest.mark.parametrize("used", [False, True], ids=["before it was used", "after it was used"])
def test_a_login_while_redis_is_stopped_is_quick_and_its_jobs_are_done(
    user, hold, new_redis, point_to, yahoo, real_hashes, direct_processing, used
):
    user.set_password("secret")
    user.save()
    symbols = [f"S{number}" for number in range(10)]
    yahoo.serve(*symbols)
    hold(user, *symbols)
    point_to(new_redis.url)
    earlier = fetch("USED") if used else []
    new_redis.pause()
    with promptly():
        log_in(user)
    jobs = list(Job.objects.exclude(pk__in=[job.pk for job in earlier]))
    assert len(jobs) == 10
    wait_for_end(jobs)
    new_redis.resume()
    check_jobs(jobs, served=yahoo.server.closes)
    assert {job.worker_id for job in Job.objects.filter(symbol__in=symbols)} == {direct.worker_id()}
    assert set(fetched(yahoo).values()) == {1}


def test_jobs_wait_while_redis_is_full_the_log_says_so_and_all_are_done_later(
    new_redis, point_to, start, yahoo, caplog, tmp_path
):
    gate = Gate(tmp_path / "gate")
    yahoo.serve("AAPL", "MSFT")
    point_to(new_redis.url)
    environment = {"CELERY_BROKER_URL": new_redis.url, **yahoo.server.environment}
    redis = Redis.from_url(new_redis.url)
    one_at_a_time = (*EVERY_QUEUE, "-c", "1")
    with start(*one_at_a_time, ready=" ready.", **environment) as worker:
        running, *behind = gate.request("A0", "A1", "A2")
        gate.wait_for(running, 1)
        redis.config_set("maxmemory-policy", "noeviction")
        redis.config_set("maxmemory", "1")
        waiting = fetch("AAPL", "MSFT", trigger=Job.Trigger.SCHEDULED_UPDATE)
        assert set(Job.objects.filter(pk__in=[job.pk for job in waiting]).values_list("status", "dispatched_at")) == {
            ("pending", None)
        }
        assert "the broker accepted 0 of 2 jobs" in caplog.text
        assert "used memory > 'maxmemory'" in caplog.text
        gate.open(1)
        wait_for_end([running])  # the next message is taken, and cannot be noted as unacknowledged
        time.sleep(2)
        redis.config_set("maxmemory", "0")
        celery_broker.breaker.succeed()
        let_pass(21)
        deadline = time.monotonic() + 60
        while counts()["completed"] < 5 and time.monotonic() < deadline:
            assert worker.poll() is None, output_of(worker)
            sweep()
            time.sleep(0.5)
        wait_for_end([running, *behind, *waiting], timeout=1)
    check_jobs([running, *behind, *waiting], served=yahoo.server.closes)
    assert {effect_of(job) for job in (running, *behind)} == {"1"}
