"""A worker claims several jobs of a cohort at once. Each job keeps its row, its events and its own end."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from django.contrib.auth.models import User
from django.db import OperationalError, connection, transaction
from django.utils import timezone
from redis import Redis

from market.models import Stock
from tasks import job_types
from tasks.delivery.admission import admit
from tasks.delivery.dispatch import dispatch
from tasks.enqueue import JobSpec, enqueue
from tasks.job_types import Cohorts
from tasks.models import Job
from tasks.running.execute import JobFailed, run_message
from tasks.running.handlers import JobError, JobResult, JobSnoozed, Part
from tasks.state import lifecycle
from tests.support.invariants import check_jobs
from tests.support.servers import RedisServer

pytestmark = pytest.mark.django_db(transaction=True)

FETCH = Job.Type.STOCK_FETCH
FOREGROUND = Job.Queue.FOREGROUND
SIZE = 4


def write(jobs: Sequence[Job]) -> list[JobResult]:
    """The effect of each job: a stock with its symbol."""
    Stock.objects.bulk_create(Stock(symbol=f"DONE{job.symbol}") for job in jobs)
    return [JobResult(Job.Outcome.UPDATED, {"symbol": job.symbol}) for job in jobs]


def written() -> list[str]:
    return sorted(symbol.removeprefix("DONE") for symbol in Stock.objects.values_list("symbol", flat=True))


@pytest.fixture
def seen() -> list[list[str]]:
    """The symbols of the cohorts, in the order of their claims."""
    return []


@pytest.fixture
def together(monkeypatch, seen) -> Callable[..., None]:
    """together(handler): fetches are done in cohorts of four, unless their parameters say `alone`."""

    def together(handler: Callable[[Sequence[Job]], Iterator[Part]]) -> None:
        def note(jobs: Sequence[Job]) -> Iterator[Part]:
            seen.append([job.symbol for job in jobs])
            return handler(jobs)

        cohorts = Cohorts(size=lambda: SIZE, includes=lambda given: "alone" not in given, handler=note)
        monkeypatch.setitem(job_types._table, FETCH, replace(job_types.find(FETCH), cohorts=cohorts))

    together(lambda jobs: iter([Part(jobs, write)]))
    return together


def ask(*symbols: str, user: User | None = None, trigger: Job.Trigger = Job.Trigger.USER_REQUEST, **given: object):
    specs = [JobSpec(FETCH, f"fetch:{symbol}", symbol, given) for symbol in symbols]
    return enqueue(specs, trigger, user).jobs


def let_in() -> list[Job]:
    """Admit jobs, as a dispatch does."""
    with transaction.atomic():
        return admit(FOREGROUND, 100)


def queue_up(*symbols: str, **options: Any) -> list[Job]:
    """Jobs that the broker has."""
    jobs = ask(*symbols, **options)
    admitted = let_in()
    lifecycle.mark_queued([job.pk for job in admitted])
    return jobs


def states(*jobs: Job) -> list[str]:
    found = Job.objects.in_bulk([job.pk for job in jobs])
    return [found[job.pk].status for job in jobs]


def test_a_worker_claims_the_most_urgent_and_oldest_jobs_of_the_cohort_with_the_job_of_its_message(together, seen):
    late = queue_up("A", "B", "C", "D", "E")
    (urgent,) = queue_up("F", trigger=Job.Trigger.USER_LOGIN)
    endings = run_message(late[1].pk, "worker")
    assert seen == [["B", "F", "A", "C"]]
    assert set(endings) == {late[1].pk, urgent.pk, late[0].pk, late[2].pk}
    assert states(*late, urgent) == ["completed", "completed", "completed", "queued", "queued", "completed"]
    assert written() == ["A", "B", "C", "F"]
    check_jobs([*late[:3], urgent])


def test_each_member_has_its_own_events_and_names_the_message_that_led_to_its_claim(together):
    jobs = queue_up("A", "B")
    run_message(jobs[0].pk, "worker")
    for job in jobs:
        job.refresh_from_db()
        assert (job.claimed_with, job.attempt, job.worker_id) == (jobs[0].pk, 1, "worker")
        assert list(job.events.values_list("seq", "event")) == [
            (1, "created"),
            (2, "queued"),
            (3, "started"),
            (4, "completed"),
        ]
        assert job.events.get(event="completed").payload["result"] == {"symbol": job.symbol}


def test_an_admitted_job_whose_message_is_not_out_yet_is_claimed_too(together, seen):
    jobs = ask("A", "B", "C")
    assert len(let_in()) == 3
    run_message(jobs[0].pk, "worker")
    assert seen == [["A", "B", "C"]]
    assert list(jobs[2].events.values_list("event", flat=True)) == ["created", "queued", "started", "completed"]


def test_a_job_that_waits_for_admission_is_not_claimed(together, seen, configured, user):
    configured(**{"stock_jobs.portfolio_priority.max_concurrent_per_user": 1})
    jobs = queue_up("A", "B", "C", "D", "E", user=user)
    assert states(*jobs) == ["queued"] * 4 + ["pending"]
    lifecycle.cancel([jobs[0].pk], "by a test")
    run_message(jobs[0].pk, "worker")
    assert seen == [["B", "C", "D"]]


def test_other_queues_other_types_and_jobs_that_are_done_alone_are_not_claimed(together, seen):
    jobs = queue_up("A", "B")
    (alone,) = ask("C", alone=True)
    (other,) = ask("D", trigger=Job.Trigger.SCHEDULED_UPDATE)
    for queue in (FOREGROUND, Job.Queue.BACKGROUND_FETCH):
        with transaction.atomic():
            lifecycle.mark_queued([job.pk for job in admit(queue, 100)])
    run_message(jobs[0].pk, "worker")
    assert seen == [["A", "B"]]
    assert states(alone, other) == ["queued", "queued"]


def test_a_message_whose_job_is_gone_runs_the_others(together, seen):
    jobs = queue_up("A", "B", "C")
    lifecycle.cancel([jobs[0].pk], "by a test")
    assert set(run_message(jobs[0].pk, "worker")) == {jobs[1].pk, jobs[2].pk}
    assert seen == [["B", "C"]]
    assert run_message(jobs[0].pk, "worker") == {}


def test_workers_that_claim_at_once_share_the_jobs(together, seen):
    jobs = queue_up(*(f"S{number}" for number in range(4 * SIZE)))
    barrier = threading.Barrier(4)

    def work(job: Job) -> None:
        try:
            barrier.wait(10)
            run_message(job.pk, f"worker{job.symbol}")
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, jobs[::SIZE]))
    assert sorted(symbol for cohort in seen for symbol in cohort) == sorted(job.symbol for job in jobs)
    assert states(*jobs) == ["completed"] * len(jobs)
    check_jobs(jobs)


def test_a_claimed_job_runs_alone_if_the_database_is_lost_before_the_others_are_claimed(together, seen, monkeypatch):
    def lose(*_place: object, **_options: object) -> list[Job]:
        raise OperationalError("server closed the connection unexpectedly")

    jobs = queue_up("A", "B")
    monkeypatch.setattr(lifecycle, "claim_together", lose)
    assert set(run_message(jobs[0].pk, "worker")) == {jobs[0].pk}
    assert seen == [["A"]]
    assert states(*jobs) == ["completed", "queued"]


def test_a_message_runs_a_full_cohort_even_if_its_sender_marks_the_jobs_as_queued_meanwhile(
    together, seen, monkeypatch
):
    jobs = ask("A", "B", "C", "D")
    let_in()
    read = lifecycle._first

    def read_and_mark(waiting: Any, most: int) -> list[Job]:
        found = read(waiting, most)
        lifecycle.mark_queued([job.pk for job in jobs])
        return found

    monkeypatch.setattr(lifecycle, "_first", read_and_mark)
    run_message(jobs[0].pk, "worker")
    assert seen == [["A", "B", "C", "D"]]
    assert states(*jobs) == ["completed"] * 4


def test_a_message_runs_a_full_cohort_even_if_another_message_claims_one_of_its_jobs_meanwhile(
    together, seen, monkeypatch
):
    jobs = ask(*(f"S{number}" for number in range(8)))
    let_in()
    lifecycle.mark_queued([job.pk for job in jobs])
    choose = lifecycle._choose

    def choose_and_lose(admitted: Any, most: int) -> list[Job]:
        chosen = choose(admitted, most)
        monkeypatch.setattr(lifecycle, "_choose", choose)
        assert lifecycle.claim(chosen[-1].pk, "other worker")
        return chosen

    monkeypatch.setattr(lifecycle, "_choose", choose_and_lose)
    run_message(jobs[0].pk, "worker")
    assert seen == [["S0", "S1", "S2", "S4"]]
    assert states(*jobs) == ["completed"] * 3 + ["running", "completed"] + ["queued"] * 3


def test_one_message_is_sent_for_each_cohort(together, redis_without_workers: RedisServer, point_to):
    point_to(redis_without_workers.url)
    with Redis.from_url(redis_without_workers.url) as redis:
        redis.flushall()
        jobs = ask(*(f"S{number}" for number in range(10)))
        assert states(*jobs) == ["queued"] * 10
        assert sum(redis.llen(name) for name in redis.keys(f"{FOREGROUND}*")) == 3


def test_the_messages_suffice_whatever_jobs_they_name(together, seen, redis_without_workers: RedisServer, point_to):
    point_to(redis_without_workers.url)
    first = ask("A", "B", "C", "D", "E")
    urgent = ask("F", trigger=Job.Trigger.USER_LOGIN)
    for job in (urgent[0], first[0], first[4]):  # the jobs that messages were sent for
        run_message(job.pk, "worker")
    assert states(*first, *urgent) == ["completed"] * 6
    assert seen == [["F", "A", "B", "C"], ["D", "E"]]


def test_a_member_that_was_cancelled_meanwhile_keeps_its_end_and_has_no_effect(together, caplog):
    def work(jobs: Sequence[Job]) -> Iterator[Part]:
        lifecycle.cancel([jobs[1].pk], "by a test")
        yield Part(jobs, write)

    together(work)
    jobs = queue_up("A", "B", "C")
    assert set(run_message(jobs[0].pk, "worker")) == {jobs[0].pk, jobs[2].pk}
    assert states(*jobs) == ["completed", "cancelled", "completed"]
    assert written() == ["A", "C"]
    assert str(jobs[1].pk) in caplog.text


def test_a_part_that_cannot_be_stored_costs_only_the_member_at_fault(together):
    def store(jobs: Sequence[Job]) -> list[JobResult]:
        if any(job.symbol == "B" for job in jobs):
            raise ValueError("B is garbled")
        return write(jobs)

    together(lambda jobs: iter([Part(jobs, store)]))
    jobs = queue_up("A", "B", "C")
    endings = run_message(jobs[0].pk, "worker")
    assert states(*jobs) == ["completed", "failed", "completed"]
    assert isinstance(endings[jobs[1].pk], JobFailed)
    assert Job.objects.get(symbol="B").error == "ValueError: B is garbled"
    assert written() == ["A", "C"]


def test_members_end_one_by_one_as_their_parts_come(together):
    def work(jobs: Sequence[Job]) -> Iterator[Part]:
        for number, job in enumerate(jobs):
            assert states(*jobs) == ["completed"] * number + ["running"] * (len(jobs) - number)
            yield Part([job], write)

    together(work)
    jobs = queue_up("A", "B", "C")
    run_message(jobs[0].pk, "worker")
    assert states(*jobs) == ["completed"] * 3


@pytest.mark.parametrize(
    ("error", "status", "retries"),
    [
        (JobError("no"), "failed", 0),
        (JobError("later", retryable=True), "pending", 1),
        (JobSnoozed("wait", timezone.now() + timedelta(minutes=1)), "pending", 0),
        (OperationalError("the database is away"), "pending", 1),
        (SoftTimeLimitExceeded(), "pending", 1),
        (KeyError("unexpected"), "failed", 0),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_an_error_ends_the_attempts_of_the_members_that_have_not_ended(together, error, status, retries):
    def work(jobs: Sequence[Job]) -> Iterator[Part]:
        yield Part(jobs[:1], write)
        raise error

    together(work)
    jobs = queue_up("A", "B", "C")
    run_message(jobs[0].pk, "worker")
    found = list(Job.objects.order_by("created_at"))
    assert [(job.status, job.retries) for job in found] == [("completed", 0), *[(status, retries)] * 2]
    check_jobs([jobs[0]])


def test_a_retried_member_is_claimed_again_and_an_ended_one_is_not(together, seen):
    def work(jobs: Sequence[Job]) -> Iterator[Part]:
        yield Part(jobs[:1], write)
        raise JobError("later", retryable=True)

    together(work)
    jobs = queue_up("A", "B")
    run_message(jobs[0].pk, "worker")
    Job.objects.filter(symbol="B").update(run_at=None)
    together(lambda jobs: iter([Part(jobs, write)]))
    dispatch(FOREGROUND)
    let_in()
    run_message(jobs[1].pk, "other")
    assert seen == [["A", "B"], ["B"]]
    assert states(*jobs) == ["completed", "completed"]


def test_a_job_of_a_cohort_weighs_its_share_of_a_request(together, configured, user):
    configured(**{"stock_jobs.portfolio_priority.max_concurrent_per_user": 2})
    alone = ask("X", alone=True, user=user)
    ask(*(f"S{number}" for number in range(9)), user=user)
    ask("Y", alone=True, user=user)
    admitted = let_in()
    assert [job.pk for job in admitted][:1] == [alone[0].pk]
    assert len(admitted) == 1 + SIZE  # one request alone, and one for four stocks


def test_a_queue_is_full_by_weight(together, configured):
    configured(**{"queue.priority_queues": _one_request_at_a_time()})
    ask(*(f"S{number}" for number in range(9)))
    assert len(let_in()) == SIZE
    assert let_in() == []


def _one_request_at_a_time() -> dict[str, dict[str, int]]:
    return {"foreground": {"priority": 1, "max_jobs": 1, "ttl": 300}}


def test_the_end_of_a_cohort_makes_room_for_the_next(together, configured, user, redis_without_workers, point_to):
    point_to(redis_without_workers.url)
    configured(**{"stock_jobs.portfolio_priority.max_concurrent_per_user": 1})
    jobs = ask(*(f"S{number}" for number in range(6)), user=user)
    assert states(*jobs) == ["queued"] * 4 + ["pending"] * 2
    run_message(jobs[0].pk, "worker")
    assert states(*jobs) == ["completed"] * 4 + ["queued"] * 2


def test_a_size_of_one_means_each_job_alone(monkeypatch, together):
    monkeypatch.setattr("tests.tasks.test_cohorts.SIZE", 1)
    jobs = queue_up("A", "B")
    assert set(run_message(jobs[0].pk, "worker")) == {jobs[0].pk}
