"""The main job through the shipped processes: login, Celery, yfinance, bars, bridge, MQTT."""

import json

import pytest
from celery import current_app
from django.test import Client
from django_celery_results.models import TaskResult

from market.jobs.requests import request_fetches
from market.models import Stock
from operations.local.child_processes import wait_until
from tasks.delivery import broker
from tasks.models import Job
from tasks.upkeep.sweeper import sweep
from tests.conftest import BRIDGE, WORKER

pytestmark = pytest.mark.django_db(transaction=True)

ENDS = ("completed", "failed")


def log_in(user) -> None:
    client = Client()
    answer = client.post("/accounts/login/", {"username": user.username, "password": "secret"})
    assert answer.status_code == 302


def task_results() -> dict[str, str]:
    """Celery writes a result after the task, and so after the job has ended."""
    return dict(TaskResult.objects.values_list("task_id", "status"))


def all_ended() -> bool:
    return not Job.objects.exclude(status__in=ENDS).exists()


def test_a_login_turns_into_fresh_prices_and_mqtt_events(
    user, hold, yahoo, broker, worker, mosquitto_server, start, subscribe
):
    symbols = ["AAPL", "MSFT", "BRK-B"]
    yahoo.serve(*symbols)
    hold(user, *symbols, "ZZTOP")
    with start(*BRIDGE, ready="connected to", MQTT_URL=mosquitto_server.url), subscribe(mosquitto_server) as seen:
        log_in(user)
        payloads = seen.wait_for(
            lambda messages: sum(json.loads(m.payload)["event"] in ENDS for m in messages) == 4, 60
        )
        assert payloads, seen.messages
    for symbol in symbols:
        stored = dict(Stock.objects.get(symbol=symbol).bars.values_list("date", "close"))
        assert stored == {day: close for day, close in yahoo.server.closes(symbol).items() if day >= min(stored)}
    by_symbol: dict[str, list[str]] = {}
    for message in seen.messages:
        by_symbol.setdefault(message.topic, []).append(json.loads(message.payload)["event"])
    assert by_symbol == {
        **{f"stock/fetch/{symbol}": ["created", "queued", "started", "completed"] for symbol in symbols},
        "stock/fetch/ZZTOP": ["created", "queued", "started", "failed"],
    }
    expected = {str(job.pk): "SUCCESS" if job.status == "completed" else "FAILURE" for job in Job.objects.all()}
    wait_until(lambda: task_results() == expected, f"{expected} as TaskResults")
    before = Job.objects.count()
    log_in(user)
    assert Job.objects.count() == before


def test_the_largest_holding_is_fetched_first(user, hold, yahoo, new_redis, point_to, start):
    symbols = [f"S{number}" for number in range(6)]
    yahoo.serve(*symbols)
    hold(user, *symbols)
    point_to(new_redis.url)
    log_in(user)
    one_at_a_time = [*WORKER, "-c", "1"]
    with start(*one_at_a_time, ready=" ready.", CELERY_BROKER_URL=new_redis.url, **yahoo.server.environment):
        wait_until(all_ended, "the jobs", timeout=60)
    assert yahoo.asked_for() == symbols


def test_jobs_that_no_broker_took_are_sent_by_the_sweeper(user, hold, yahoo, new_redis, point_to, start):
    yahoo.serve("AAPL")
    hold(user, "AAPL")
    point_to(new_redis.url)
    new_redis.stop()
    log_in(user)
    job = Job.objects.get()
    assert job.status == "pending"
    new_redis.start()
    broker.breaker.succeed()  # the pause after a failure is over
    assert sweep() == 1
    with start(*WORKER, ready=" ready.", CELERY_BROKER_URL=new_redis.url, **yahoo.server.environment):
        wait_until(all_ended, "the job", timeout=60)
    assert Job.objects.get().status == "completed"


def test_beat_makes_a_worker_send_what_waits(user, hold, yahoo, broker, worker, redis_server, start):
    yahoo.serve("AAPL")
    hold(user, "AAPL")
    Job.objects.create(
        job_type="stock_fetch",
        trigger="user_login",
        symbol="AAPL",
        parameters={"days": 30},
        unique_key="stock_fetch:AAPL",
        priority=1,
        queue="foreground",
    )
    beat = ("-m", "celery", "-A", "stockqueue", "beat", "--pidfile", "")
    with start(*beat, ready="beat", CELERY_BROKER_URL=redis_server.url):
        wait_until(all_ended, "the job", timeout=60)
    assert Job.objects.get().status == "completed"


def test_a_message_without_a_job_and_a_message_too_many_change_nothing(yahoo, broker, worker):
    yahoo.serve("AAPL")
    job = request_fetches([Stock.objects.create(symbol="AAPL")], Job.Trigger.USER_REQUEST).created[0]
    wait_until(lambda: task_results() == {str(job.pk): "SUCCESS"}, "the job's TaskResult", timeout=60)
    result = TaskResult.objects.get()
    events = job.events.count()
    for job_id in (str(job.pk), "00000000-0000-4000-8000-000000000000"):
        current_app.send_task("stockqueue.stock_fetch", args=[job_id], task_id=job_id, queue="foreground", priority=0)
    yahoo.serve("MSFT")
    request_fetches([Stock.objects.create(symbol="MSFT")], Job.Trigger.USER_REQUEST)
    wait_until(all_ended, "the job behind the others", timeout=60)
    assert job.events.count() == events
    again = TaskResult.objects.get(task_id=result.task_id)
    assert (again.status, again.result) == ("SUCCESS", result.result)


def test_a_worker_ends_on_sigterm_with_its_job_done(user, hold, yahoo, new_redis, point_to, start):
    yahoo.serve("AAPL")
    hold(user, "AAPL")
    point_to(new_redis.url)
    with start(*WORKER, ready=" ready.", CELERY_BROKER_URL=new_redis.url, **yahoo.server.environment) as process:
        yahoo.server.hold_back()
        log_in(user)
        yahoo.server.wait_for_requests(yahoo.seen_before + 1)
        process.terminate()
        yahoo.server.release()
        assert process.wait(30) == 0
    assert Job.objects.get().status == "completed"
