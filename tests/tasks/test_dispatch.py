"""Whose turn it is: caps of queues and users, joining, promotion, and what happens when the broker takes nothing."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.utils import timezone
from redis import Redis

from market.jobs.requests import request_fetches
from market.models import Stock
from tasks import control
from tasks.delivery import broker as celery_broker
from tasks.delivery import dispatch as dispatch_module
from tasks.delivery.admission import admit, forget_unused
from tasks.delivery.dispatch import dispatch, in_rollout
from tasks.enqueue import JobSpec, enqueue
from tasks.models import Job, JobRequest
from tasks.running.execute import run_job
from tasks.state import lifecycle
from tests.support.promptly import promptly
from tests.support.servers import RedisServer

pytestmark = pytest.mark.django_db(transaction=True)

Trigger = Job.Trigger


def stocks(*symbols: str) -> list[Stock]:
    return [Stock.objects.get_or_create(symbol=symbol)[0] for symbol in symbols]


def numbered(count: int, prefix: str = "S") -> list[Stock]:
    return stocks(*(f"{prefix}{number:03}" for number in range(count)))


def ask(user: User | None, *symbols: str, trigger: Job.Trigger = Trigger.USER_LOGIN) -> list[Job]:
    return request_fetches(stocks(*symbols), trigger, user).jobs


def states() -> dict[str, str]:
    return dict(Job.objects.values_list("symbol", "status"))


def queued() -> list[str]:
    return list(
        Job.objects.filter(status="queued").order_by("priority", "created_at").values_list("symbol", flat=True)
    )


def messages(server, queue: str) -> int:
    """How many messages Redis holds for a queue, in all its ten lists."""
    with Redis.from_url(server.url) as redis:
        names = [queue, *(f"{queue}\x06\x16{step}" for step in range(1, 10))]
        return sum(redis.llen(name) for name in names)


def end(symbol: str) -> None:
    """Run a job to its end, as a worker would."""
    job = Job.objects.get(symbol=symbol, status__in=Job.ACTIVE)
    run_job(job.pk, "worker")


@pytest.fixture
def broker(redis_without_workers, point_to) -> RedisServer:
    """In place of the one that a worker of other tests takes jobs from."""
    point_to(redis_without_workers.url)
    return redis_without_workers


@pytest.fixture
def people(db: None) -> list[User]:
    return [User.objects.create_user(f"person{number}") for number in range(3)]


def test_a_user_has_at_most_three_jobs_that_are_queued_and_the_next_one_follows_when_one_ends(people, broker, yahoo):
    ann = people[0]
    yahoo.serve(*(f"S{number}" for number in range(5)))
    ask(ann, *(f"S{number}" for number in range(5)))
    assert queued() == ["S0", "S1", "S2"]
    end("S1")
    assert queued() == ["S0", "S2", "S3"]
    end("S0")
    assert queued() == ["S2", "S3", "S4"]


def test_a_job_that_runs_takes_up_its_users_room(people, broker):
    ask(people[0], "S0", "S1", "S2", "S3")
    job = Job.objects.get(symbol="S0")
    assert lifecycle.claim(job.pk, "worker")
    dispatch("foreground")
    assert states()["S3"] == "pending"


def test_one_users_jobs_are_not_in_the_way_of_anothers(people, broker):
    ask(people[0], *(f"A{number}" for number in range(10)))
    ask(people[1], *(f"B{number}" for number in range(10)))
    assert queued() == ["A0", "A1", "A2", "B0", "B1", "B2"]


def test_a_job_of_two_requesters_goes_as_soon_as_one_of_them_has_room(people, broker):
    ask(people[0], *(f"A{number}" for number in range(5)))
    assert states()["A4"] == "pending"
    ask(people[1], "A4")
    assert states()["A4"] == "queued"
    assert Job.objects.get(symbol="A4").dispatched_for == people[1]
    ask(people[1], "B0", "B1", "B2")
    assert states()["B2"] == "pending"  # A4 takes up one of three


def test_a_users_jobs_in_one_queue_leave_room_in_the_others(people, broker):
    ann = people[0]
    analyses = [JobSpec(Job.Type.STOCK_ANALYSIS, f"analysis:{number}", f"S{number}") for number in range(5)]
    enqueue(analyses, Trigger.BACKGROUND_ANALYSIS, ann)
    ask(ann, "A0", "A1", "A2")
    assert Counter(Job.objects.filter(status="queued").values_list("queue", flat=True)) == {
        "background_analysis": 3,
        "foreground": 3,
    }


def test_a_schedule_has_no_cap_of_a_user(broker):
    request_fetches(numbered(20), Trigger.SCHEDULED_UPDATE)
    assert len(queued()) == 20


def test_a_full_queue_makes_the_next_jobs_wait_and_drops_none(broker, configured, yahoo):
    configured(**{"queue.priority_queues.background_fetch.max_jobs": 4})
    all_of_them = numbered(10)
    yahoo.serve(*(stock.symbol for stock in all_of_them))
    request_fetches(all_of_them, Trigger.SCHEDULED_UPDATE)
    assert queued() == ["S000", "S001", "S002", "S003"]
    for number in range(10):
        end(f"S{number:03}")
    assert set(states().values()) == {"completed"}


def test_the_caps_hold_however_many_dispatch_at_once(people, broker, configured):
    configured(**{"queue.priority_queues.foreground.max_jobs": 7})
    together = threading.Barrier(6)

    def log_in(number: int) -> None:
        try:
            together.wait(10)
            ask(people[number % 3], *(f"{'ABC'[number % 3]}{turn}-{number}" for turn in range(5)))
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(log_in, range(6)))
    dispatch("foreground")
    assert len(queued()) == 7
    by_user = Counter(Job.objects.filter(status="queued").values_list("dispatched_for", flat=True))
    assert max(by_user.values()) <= 3


def test_a_job_whose_requester_is_deleted_still_goes(people, broker, configured):
    configured(**{"queue.priority_queues.foreground.max_jobs": 1})
    ask(people[0], "A0", "A1")
    people[0].delete()
    assert not JobRequest.objects.exists()
    control.cancel([Job.objects.get(symbol="A0").pk], "a test")
    assert states() == {"A0": "cancelled", "A1": "queued"}


def test_a_retry_gives_its_users_room_to_the_next_job_until_its_time_comes(people, broker, yahoo):
    yahoo.serve("A1", "A2", "A3")
    yahoo.misbehave("server_error", "A0")
    ask(people[0], "A0", "A1", "A2", "A3")
    end("A0")
    assert states() == {"A0": "pending", "A1": "queued", "A2": "queued", "A3": "queued"}
    for symbol in ("A1", "A2", "A3"):
        end(symbol)
    dispatch("foreground")
    assert states()["A0"] == "pending"
    Job.objects.filter(symbol="A0").update(run_at=timezone.now())
    dispatch("foreground")
    assert states()["A0"] == "queued"


def test_a_request_joins_a_less_urgent_job_and_promotes_it(people, broker):
    (job,) = ask(None, "AAPL", trigger=Trigger.SCHEDULED_UPDATE)
    assert (job.queue, job.priority) == ("background_fetch", 5)
    (joined,) = ask(people[0], "AAPL")
    joined.refresh_from_db()
    assert joined.pk == job.pk
    assert (joined.queue, joined.priority, joined.status) == ("foreground", 1, "queued")
    assert list(joined.events.order_by("seq").values_list("event", flat=True)) == ["created", "queued", "promoted"]
    assert joined.priority_reason["trigger"] == "user_login"
    assert messages(broker, "foreground") >= 1


def test_a_request_that_is_less_urgent_leaves_the_job_as_it_is(people, broker):
    ask(people[0], "AAPL")
    (joined,) = ask(None, "AAPL", trigger=Trigger.SCHEDULED_UPDATE)
    joined.refresh_from_db()
    assert (joined.queue, joined.priority) == ("foreground", 1)
    assert joined.requests.count() == 2


def test_a_message_from_before_a_job_was_put_back_does_not_start_it(broker):
    (job,) = ask(None, "AAPL", trigger=Trigger.USER_REQUEST)
    assert job.priority == 3
    control.reprioritise([job.pk], 5, "admin")
    assert lifecycle.claim(job.pk, "worker", at_most=3) is None
    assert lifecycle.claim(job.pk, "worker", at_most=5) is not None


@pytest.mark.parametrize(("job_type", "allowed"), [("stock_fetch", range(1, 7)), ("stock_analysis", range(7, 11))])
def test_a_priority_has_to_be_in_a_queue_for_the_type(job_type, allowed):
    (job,) = enqueue([JobSpec(Job.Type(job_type), "x", "AAPL")], Trigger.BACKGROUND_ANALYSIS).created
    for priority in range(12):
        if priority in allowed:
            control.reprioritise([job.pk], priority, "admin")
            job.refresh_from_db()
            assert job.priority == priority
        else:
            with pytest.raises(control.NotPossible, match=rf"priority {priority}\b"):
                control.reprioritise([job.pk], priority, "admin")


def test_a_cancelled_job_is_never_started_and_its_place_is_free(people, broker):
    (job,) = ask(people[0], "AAPL")
    assert [cancelled.pk for cancelled in control.cancel([job.pk], "ann")] == [job.pk]
    assert lifecycle.claim(job.pk, "worker") is None
    assert control.cancel([job.pk], "ann") == []
    (again,) = ask(people[0], "AAPL")
    assert again.pk != job.pk


def test_an_ended_job_runs_again_as_a_new_one_that_says_of_which(people):
    (job,) = ask(people[0], "AAPL")
    with pytest.raises(control.NotPossible, match="is pending; only an ended job"):
        control.rerun([job], people[1])
    control.cancel([job.pk], "ann")
    job.refresh_from_db()
    (new,) = control.rerun([job], people[1]).created
    assert (new.symbol, new.user, new.trigger) == ("AAPL", people[1], "user_request")
    assert new.events.get().payload["retry_of"] == str(job.pk)


def test_a_job_that_waits_again_before_its_sender_notes_the_message_goes_on_waiting(broker, monkeypatch):
    """A worker may be faster than the sender of many messages."""
    until = timezone.now() + timedelta(minutes=5)
    publish = celery_broker.publish

    def publish_slowly(jobs, *, within):
        sent = publish(jobs, within=within)
        for job in jobs:
            claim = lifecycle.claim(job.pk, "worker")
            assert claim is not None
            lifecycle.snooze(claim, "the rate limit", until)
        return sent

    monkeypatch.setattr(celery_broker, "publish", publish_slowly)
    (job,) = ask(None, "AAPL")
    job.refresh_from_db()
    assert (job.status, job.dispatched_at, job.run_at) == ("pending", None, until)
    assert list(job.events.order_by("seq").values_list("event", flat=True)) == [
        *("created", "queued", "started", "progress"),
    ]


def test_jobs_of_one_request_keep_their_order(broker):
    names = [f"S{number}" for number in (5, 3, 9, 1, 7)]
    request_fetches(stocks(*names), Trigger.SCHEDULED_UPDATE)
    assert queued() == names


def test_a_broker_that_refuses_is_left_alone_for_a_while(point_to, new_redis):
    point_to(new_redis.url)
    new_redis.stop()
    request_fetches(stocks("A0"), Trigger.USER_REQUEST)
    assert celery_broker.breaker.is_open
    assert not celery_broker.breaker.allows()
    new_redis.start()
    dispatch("foreground")
    assert states() == {"A0": "pending"}
    celery_broker.breaker.succeed()
    dispatch("foreground")
    assert states() == {"A0": "queued"}


def refused() -> dict[str, datetime | None]:
    """Since when the broker has not taken which jobs."""
    return dict(Job.objects.refused().values_list("symbol", "refused_at"))


def test_what_a_broker_does_not_take_is_noted_until_it_does(point_to, new_redis):
    point_to(new_redis.url)
    new_redis.stop()
    request_fetches(stocks("A0", "B0"), Trigger.USER_REQUEST)
    noted = refused()
    assert set(noted) == {"A0", "B0"}
    dispatch("foreground")
    assert refused() == noted
    new_redis.start()
    celery_broker.breaker.succeed()
    dispatch("foreground")
    assert (refused(), states()) == ({}, {"A0": "queued", "B0": "queued"})


def test_what_waits_for_its_users_turn_is_not_waiting_for_the_broker(user, new_redis, point_to):
    point_to(new_redis.url)
    new_redis.stop()
    ask(user, "A0", "B0", "C0", "D0", trigger=Trigger.USER_REQUEST)
    assert set(refused()) == {"A0", "B0", "C0"}
    new_redis.start()
    celery_broker.breaker.succeed()
    ask(user, "X0", "Y0", "Z0")
    assert queued() == ["X0", "Y0", "Z0"]
    dispatch("foreground")
    assert (queued(), refused()) == (["X0", "Y0", "Z0"], {})


def test_what_there_was_no_time_to_send_was_not_refused(broker, monkeypatch):
    monkeypatch.setattr(dispatch_module, "IN_A_REQUEST", -1.0)
    request_fetches(stocks("A0"), Trigger.USER_REQUEST)
    assert (states(), refused()) == ({"A0": "pending"}, {})


def test_a_turn_whose_process_died_is_taken_back():
    request_fetches(stocks("A0"), Trigger.USER_REQUEST)
    with transaction.atomic():
        (job,) = admit("foreground", 1)
    with transaction.atomic():
        assert admit("foreground", 1) == []
    forget_unused(timedelta(seconds=10))
    with transaction.atomic():
        assert admit("foreground", 1) == []
    Job.objects.filter(pk=job.pk).update(dispatched_at=timezone.now() - timedelta(seconds=11))
    forget_unused(timedelta(seconds=10))
    with transaction.atomic():
        assert len(admit("foreground", 1)) == 1


@pytest.mark.parametrize("percent", [0, 1, 50, 99, 100])
def test_the_rollout_moves_that_share_of_the_users_and_always_the_same(percent, configured):
    configured(**{"integration.rollout_percent": percent})
    moved = {user for user in range(10_000) if in_rollout(user)}
    assert abs(len(moved) / 100 - percent) < 1.5
    configured(**{"integration.rollout_percent": min(100, percent + 10)})
    assert moved <= {user for user in range(10_000) if in_rollout(user)}


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.servers) for name in ("redis", "rabbitmq")])
def either_broker(request, point_to):
    """Each of the brokers, with nothing in it."""
    server = request.getfixturevalue("new_redis" if request.param == "redis" else "empty_rabbit")
    point_to(server.url)
    return server


def test_a_broker_tells_how_many_messages_wait_in_a_queue_whatever_their_priority(either_broker):
    assert celery_broker.depth("background_fetch") == 0
    jobs = request_fetches(numbered(9), Trigger.SCHEDULED_UPDATE).created
    for job, priority in zip(jobs, [4, 5, 6] * 3, strict=True):
        if priority != 5:
            control.reprioritise([job.pk], priority, "admin")
    assert celery_broker.depth("background_fetch") == 9 + 6
    assert celery_broker.depth("foreground") == 0


def test_a_broker_that_does_not_answer_is_an_error_that_passes(either_broker):
    request_fetches(numbered(1), Trigger.SCHEDULED_UPDATE)
    either_broker.stop()
    with pytest.raises(OSError, match="refused"):
        celery_broker.depth("background_fetch")
    either_broker.start()
    assert celery_broker.depth("foreground") == 0


@pytest.mark.parametrize("state", ["stopped", "paused", "paused after use"])
def test_sending_gives_up_in_time_whatever_the_broker_does(state, either_broker):
    if state == "paused after use":
        request_fetches(stocks("USED"), Trigger.USER_REQUEST)
        assert states() == {"USED": "queued"}
    either_broker.stop() if state == "stopped" else either_broker.pause()
    with promptly():
        request_fetches(numbered(20), Trigger.USER_REQUEST)
    assert states()["S000"] == "pending"


def test_sending_gives_up_in_time_while_rabbitmq_has_an_alarm(new_rabbit, point_to):
    point_to(new_rabbit.url)
    request_fetches(stocks("USED"), Trigger.USER_REQUEST)
    new_rabbit.block_publishers()
    with promptly():
        request_fetches(stocks("AAPL"), Trigger.USER_REQUEST)
    assert states() == {"USED": "queued", "AAPL": "pending"}
    assert set(refused()) == {"AAPL"}
    new_rabbit.unblock_publishers()
    celery_broker.breaker.succeed()
    dispatch("foreground")
    assert (states()["AAPL"], refused()) == ("queued", {})
    new_rabbit.pause()
    request_fetches(stocks("MSFT"), Trigger.USER_REQUEST)
    assert states()["MSFT"] == "pending"  # a late answer to one message is not taken for the answer to the next
