"""Jobs that a limit such as a source's rate limit leaves no request: they stay pending, or wait without noise."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from tasks import job_types, limits
from tasks.delivery.admission import admit
from tasks.delivery.waits import why_waiting
from tasks.describe import describe_event, describe_wait
from tasks.enqueue import JobSpec, enqueue
from tasks.limits import Left
from tasks.models import Job
from tasks.running.handlers import JobError, JobResult, JobSnoozed
from tasks.state import lifecycle
from tests.support.invariants import check_jobs
from tests.support.jobs import run_once

pytestmark = pytest.mark.django_db

FOREGROUND, BACKGROUND = Job.Queue.FOREGROUND, Job.Queue.BACKGROUND_FETCH
SIZE = 4
"""The jobs that one request of these tests answers for."""
CAUSE = "the rate limit of the tests"


@pytest.fixture
def leaves(monkeypatch) -> Callable[[int], None]:
    """leaves(3): the limit of fetches allows three more requests, of six a minute."""
    fetches = job_types.find(Job.Type.STOCK_FETCH)
    assert fetches.cohorts is not None
    in_fours = replace(fetches, cohorts=replace(fetches.cohorts, size=lambda: SIZE))
    monkeypatch.setitem(job_types._table, Job.Type.STOCK_FETCH, in_fours)

    def leaves(requests: int) -> None:
        monkeypatch.setitem(
            limits._table, "prices", lambda _queue: lambda _priority: Left(requests, 6, CAUSE, until())
        )

    return leaves


def until() -> datetime:
    return timezone.now() + timedelta(minutes=1)


def request(
    *symbols: str, trigger: Job.Trigger = Job.Trigger.USER_LOGIN, user: User | None = None, age: int | None = None
) -> list[Job]:
    """Fetches that need a request each, or with an `age` of their prices, one for every four."""
    specs = [
        JobSpec(Job.Type.STOCK_FETCH, f"test:{symbol}", symbol, {"symbol": symbol, "data_age_minutes": age})
        for symbol in symbols
    ]
    return enqueue(specs, trigger, user).created


def admitted(queue: Job.Queue = FOREGROUND, at_most: int = 1_000) -> list[str]:
    return [job.symbol for job in admit(queue, at_most)]


def test_no_more_jobs_are_admitted_than_their_limit_leaves_requests(leaves):
    request("A", "B", "C")
    leaves(2)
    assert admitted() == ["A", "B"]
    assert admitted() == []  # the two requests are reserved, until a worker has begun
    Job.objects.filter(symbol="A").update(status="running", started_at=timezone.now())
    assert admitted() == []  # the job may not have sent its request yet
    Job.objects.filter(symbol="A").update(started_at=timezone.now() - timedelta(seconds=2))
    assert admitted() == ["C"]


def test_a_job_of_a_cohort_takes_its_share_of_a_request(leaves):
    request("A", "B", "C", "D", "E", age=40)
    leaves(1)
    assert admitted() == ["A", "B", "C", "D"]


def test_a_job_that_asks_no_source_is_admitted_although_others_wait(leaves):
    request("A")
    (free,) = request("B")
    Job.objects.filter(pk=free.pk).update(limited_by="")
    leaves(0)
    assert admitted() == ["B"]


def test_thousands_of_waiting_jobs_do_not_hide_a_job_without_a_limit(leaves, monkeypatch):
    monkeypatch.setattr("tasks.delivery.admission.PAGE", 3)
    *_, last = request(*(f"S{number}" for number in range(8)))
    Job.objects.filter(pk=last.pk).update(limited_by="")
    leaves(0)
    assert admitted() == ["S7"]


def test_jobs_in_the_background_leave_requests_to_admitted_jobs_that_users_wait_for(leaves):
    request("A", "B")
    request("C", "D", trigger=Job.Trigger.SCHEDULED_UPDATE)
    leaves(3)
    assert admitted(FOREGROUND) == ["A", "B"]
    assert admitted(BACKGROUND) == ["C"]


def test_a_queue_without_a_worker_does_not_keep_requests_from_other_queues_for_long(leaves):
    request("A", "B")
    request("C", "D", trigger=Job.Trigger.SCHEDULED_UPDATE)
    leaves(2)
    assert admitted(FOREGROUND) == ["A", "B"]
    assert admitted(BACKGROUND) == []
    Job.objects.filter(queue=FOREGROUND).update(dispatched_at=timezone.now() - timedelta(seconds=61))
    assert admitted(BACKGROUND) == ["C", "D"]


def test_jobs_that_users_wait_for_do_not_leave_requests_to_the_background(leaves):
    request("A", "B", trigger=Job.Trigger.SCHEDULED_UPDATE)
    request("C", "D")
    leaves(2)
    assert admitted(BACKGROUND) == ["A", "B"]
    assert admitted(FOREGROUND) == ["C", "D"]


def test_a_user_with_a_third_of_the_requests_lets_others_go_first(leaves, django_user_model):
    greedy, patient = (django_user_model.objects.create_user(name) for name in ("greedy", "patient"))
    request("A", "B", "C", user=greedy)
    leaves(6)
    assert admitted() == ["A", "B", "C"]
    now = timezone.now()
    Job.objects.update(status="completed", outcome="updated", finished_at=now)

    request("D", "E", user=greedy)
    request("F", "G", user=patient)
    leaves(3)
    assert admitted() == ["F", "G", "D"]


def test_a_third_of_the_requests_is_no_limit_while_nobody_else_waits(leaves, user):
    request("A", "B", "C", user=user)
    leaves(6)
    admitted()
    Job.objects.update(status="completed", outcome="updated", finished_at=timezone.now())
    request("D", "E", user=user)
    leaves(2)
    assert admitted() == ["D", "E"]


def test_a_pending_job_tells_what_it_waits_for_and_behind_how_many(leaves):
    *_, last = request("A", "B", "C")
    leaves(0)
    assert admitted() == []
    told = re.fullmatch(rf"{CAUSE} until (.*) UTC \(behind 2 others\)", str(why_waiting(last, timezone.now())))
    assert told is not None
    assert timedelta(seconds=50) < datetime.fromisoformat(f"{told[1]}+00:00") - timezone.now() <= timedelta(minutes=1)
    leaves(1)
    assert why_waiting(last, timezone.now()) is None


# Waiting without noise


@pytest.fixture
def snooze(monkeypatch) -> Callable[..., None]:
    """snooze("the rate limit", "a pause", None): what each attempt waits for; None: it fails, and is retried."""

    def snooze(*causes: str | None) -> None:
        left = iter(causes)

        def handler(_job: Job) -> JobResult:
            cause = next(left)
            if cause is None:
                raise JobError("the source failed", retryable=True)
            raise JobSnoozed(cause, until())

        alone = replace(job_types.find(Job.Type.STOCK_FETCH), handler=handler, cohorts=None)
        monkeypatch.setitem(job_types._table, Job.Type.STOCK_FETCH, alone)

    return snooze


def told(job: Job) -> Counter[str]:
    return Counter(job.events.values_list("event", flat=True))


def test_a_wait_is_one_event_however_often_the_job_has_to_wait_for_the_same(snooze):
    (job,) = request("A")
    snooze(CAUSE, CAUSE, CAUSE)
    for _ in range(3):
        job = run_once(job)
        assert (job.status, job.retries, job.error, job.waiting_for) == ("pending", 0, "", CAUSE)
    assert told(job) == {"created": 1, "queued": 3, "started": 3, "progress": 1}
    (event,) = job.events.filter(event="progress")
    assert (event.payload["state"], event.payload["waiting_for"]) == ("pending", CAUSE)
    for words in (describe_event(event), describe_wait(job, timezone.now())):
        assert words.startswith(f"waits for {CAUSE} until 20")
    lifecycle.mark_queued([job.pk])
    claim = lifecycle.claim(job.pk, "worker")
    assert claim is not None
    lifecycle.complete(claim, Job.Outcome.UPDATED, {})
    check_jobs([job])


def test_another_cause_and_a_wait_after_a_failure_are_told_again(snooze):
    (job,) = request("A")
    snooze(CAUSE, "a pause", None, "a pause")
    for _ in range(4):
        job = run_once(job)
    causes = job.events.filter(event="progress").order_by("seq").values_list("payload__waiting_for", flat=True)
    assert list(causes) == [CAUSE, "a pause", "a pause"]
    assert (job.retries, job.error) == (1, "the source failed")


def test_the_end_of_a_job_wakes_the_jobs_that_wait_for_it():
    first, second, third = request("A", "B", "C")
    for job, awaited in ((second, first.pk), (third, None)):
        lifecycle.mark_queued([job.pk])
        claim = lifecycle.claim(job.pk, "worker")
        assert claim is not None
        lifecycle.snooze(claim, "the history", until(), waits_for=awaited)
    assert lifecycle.wake() == set()
    lifecycle.cancel([first.pk], "not needed")
    assert lifecycle.wake() == {FOREGROUND}
    second.refresh_from_db()
    third.refresh_from_db()
    assert second.run_at is None
    assert third.run_at is not None
