"""A job's life: who may move it, and that every step leaves one event."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from market.jobs.requests import request_fetches
from market.models import Stock
from operations.local.child_processes import wait_until
from tasks.models import Job, JobEvent
from tasks.running.execute import JobFailed, run_job
from tasks.state import lifecycle


def new_job(symbol: str = "AAPL") -> Job:
    stock, _ = Stock.objects.get_or_create(symbol=symbol)
    return request_fetches([stock], Job.Trigger.USER_REQUEST).created[0]


def claimed_by(worker: str, job: Job) -> Job:
    claimed = lifecycle.claim(job.pk, worker)
    assert claimed is not None
    return claimed


def fetched(job: Job) -> dict[str, Any]:
    result = run_job(job.pk, "worker")
    assert result is not None
    return result


def steps(job: Job) -> list[tuple[int, str]]:
    return list(job.events.order_by("seq").values_list("seq", "event"))


@pytest.mark.django_db
def test_each_step_leaves_one_event_with_the_next_number():
    job = new_job()
    lifecycle.mark_queued([job.pk])
    claimed = claimed_by("worker", job)
    lifecycle.complete(claimed, Job.Outcome.UPDATED, {"symbol": "AAPL"})
    assert steps(job) == [(1, "created"), (2, "queued"), (3, "started"), (4, "completed")]


@pytest.mark.django_db
def test_an_event_tells_what_was_true_at_that_moment():
    job = new_job()
    claimed = claimed_by("worker@host", job)
    lifecycle.fail(claimed, "no")
    facts = {event.event: event.payload for event in JobEvent.objects.all()}
    assert facts["created"] == {
        "state": "pending",
        "priority": 3,
        "queue": "foreground",
        "attempt": 0,
        "worker_id": "",
    }
    assert facts["started"] | {"attempt": 1, "state": "running", "worker_id": "worker@host"} == facts["started"]
    assert facts["failed"] | {"state": "failed", "error": "no"} == facts["failed"]


@pytest.mark.django_db
def test_a_job_is_claimed_once():
    job = new_job()
    assert lifecycle.claim(job.pk, "first") is not None
    assert lifecycle.claim(job.pk, "second") is None
    job.refresh_from_db()
    assert (job.worker_id, job.attempt) == ("first", 1)


@pytest.mark.django_db
def test_a_message_that_overtakes_the_note_of_its_sending_is_not_lost():
    job = new_job()
    assert lifecycle.claim(job.pk, "worker") is not None
    assert lifecycle.mark_queued([job.pk]) == []
    assert [event for _, event in steps(job)] == ["created", "queued", "started"]


@pytest.mark.django_db(transaction=True)
def test_a_message_that_comes_while_its_sending_is_noted_is_not_lost():
    job = new_job()

    def claim() -> Job | None:
        try:
            return lifecycle.claim(job.pk, "worker")
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            lifecycle.mark_queued([job.pk])
            early = pool.submit(claim)
            if connection.vendor == "postgresql":  # on SQLite it waits at its first statement
                wait_until(somebody_waits_for_a_lock, "the claim's wait")
        assert early.result(timeout=30) is not None
    assert [event for _, event in steps(job)] == ["created", "queued", "started"]


def somebody_waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_locks WHERE NOT granted")
        return cursor.fetchone() is not None


@pytest.mark.django_db
@pytest.mark.parametrize("end", ["completed", "failed"])
def test_an_end_never_changes(end):
    job = new_job()
    claimed = claimed_by("worker", job)
    if end == "completed":
        lifecycle.complete(claimed, Job.Outcome.UPDATED, {})
    else:
        lifecycle.fail(claimed, "no")
    before = steps(job)
    assert lifecycle.claim(job.pk, "other") is None
    assert lifecycle.mark_queued([job.pk]) == []
    for write in (
        lambda: lifecycle.complete(claimed, Job.Outcome.UPDATED, {}),
        lambda: lifecycle.fail(claimed, "again"),
        lambda: lifecycle.report_progress(claimed, [{}]),
    ):
        with pytest.raises(lifecycle.ClaimLost), transaction.atomic():
            write()
    assert steps(job) == before
    job.refresh_from_db()
    assert job.status == end


@pytest.mark.django_db
def test_a_worker_that_was_given_up_cannot_write(yahoo):
    yahoo.serve("AAPL")
    job = new_job()
    given_up = claimed_by("slow", job)
    Job.objects.filter(pk=job.pk).update(attempt=2)  # as a rescue gives it to another
    with pytest.raises(lifecycle.ClaimLost), transaction.atomic():
        lifecycle.report_progress(given_up, [{}])
    with pytest.raises(lifecycle.ClaimLost), transaction.atomic():
        lifecycle.fail(given_up, "late")


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_loses_its_claim_while_yahoo_answers_writes_nothing(yahoo):
    yahoo.serve("AAPL")
    job = new_job()
    yahoo.server.hold_back()

    def work() -> object:
        try:
            return run_job(job.pk, "slow")
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(work)
        yahoo.server.wait_for_requests(yahoo.seen_before + 1)
        Job.objects.filter(pk=job.pk).update(attempt=2)  # as a rescue gives it to another
        yahoo.server.release()
        assert slow.result(timeout=30) is None
    assert not Stock.objects.get().bars.exists()
    assert Stock.objects.get().checked_at is None
    job.refresh_from_db()
    assert job.status == "running"


@pytest.mark.django_db
def test_a_fetch_stores_the_closes_that_yahoo_served(yahoo):
    yahoo.serve("AAPL")
    job = new_job()
    result = fetched(job)
    stored = dict(Stock.objects.get().bars.values_list("date", "close"))
    served = yahoo.server.closes("AAPL")
    assert stored
    assert stored == {day: close for day, close in served.items() if day >= min(stored)}
    assert max(stored) == max(served)
    assert result["records_stored"] == result["days_fetched"] == len(stored)
    assert (result["symbol"], result["source"]) == ("AAPL", "yahoo_finance")
    job.refresh_from_db()
    assert (job.status, job.outcome, job.result) == ("completed", "updated", result)
    assert Stock.objects.get().checked_at is not None


@pytest.mark.django_db
def test_a_fetch_that_changes_nothing_says_so(yahoo):
    yahoo.serve("AAPL")
    run_job(new_job().pk, "worker")
    second = new_job()
    result = fetched(second)
    second.refresh_from_db()
    assert (second.status, second.outcome, result["records_stored"]) == ("completed", "unchanged", 0)
    assert "nothing newer than" in result["reason"]


@pytest.mark.django_db
def test_an_unknown_symbol_fails_its_own_job_and_counts_as_checked(yahoo):
    yahoo.serve("AAPL")
    unknown, known = new_job("ZZTOP"), new_job("AAPL")
    with pytest.raises(JobFailed, match=r"^Yahoo Finance has no data for ZZTOP$"):
        run_job(unknown.pk, "worker")
    run_job(known.pk, "worker")
    unknown.refresh_from_db()
    assert (unknown.status, unknown.error) == ("failed", "Yahoo Finance has no data for ZZTOP")
    assert Stock.objects.get(symbol="ZZTOP").checked_at is not None
    assert Job.objects.get(symbol="AAPL").status == "completed"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("rate_limited", "too many requests (429)"),
        ("server_error", "answered 503 for AAPL"),
        ("html", "reports that it is down"),
        ("malformed", "not a chart"),
        ("null_body", "not a chart"),
        ("cut", "could not be reached for AAPL"),
        ("drop", "could not be reached for AAPL"),
    ],
)
def test_an_error_that_can_pass_is_tried_again_later(yahoo, how, error):
    yahoo.serve("AAPL")
    yahoo.misbehave(how)
    job = new_job()
    before = timezone.now()
    assert run_job(job.pk, "worker") is None
    job.refresh_from_db()
    assert (job.status, job.retries) == ("pending", 1)
    assert error in job.error
    assert job.run_at is not None
    assert 30 <= (job.run_at - before).total_seconds() < 30 * 1.25 + 5  # retry_backoff's first, with jitter
    assert [event for _, event in steps(job)] == ["created", "queued", "started", "retried"]
    assert not Stock.objects.get().bars.exists()
    assert Stock.objects.get().checked_at is None


@pytest.mark.django_db
def test_an_error_that_passes_fails_the_job_when_its_retries_are_used_up(yahoo):
    yahoo.serve("AAPL")
    yahoo.misbehave("server_error")
    job = new_job()
    for _retry in range(3):
        assert run_job(job.pk, "worker") is None
    with pytest.raises(JobFailed, match="answered 503"):
        run_job(job.pk, "worker")
    job.refresh_from_db()
    assert (job.status, job.attempt, job.retries) == ("failed", 4, 3)


@pytest.mark.django_db
@pytest.mark.parametrize("how", ["empty", "all_nan"])
def test_a_source_that_knows_a_stock_and_has_no_prices_changes_nothing_and_says_so(yahoo, how):
    yahoo.serve("AAPL")
    yahoo.misbehave(how)
    job = new_job()
    result = run_job(job.pk, "worker")
    assert result
    assert "Yahoo Finance has no prices of AAPL" in result["reason"]
    job.refresh_from_db()
    assert (job.status, job.outcome) == ("completed", "unchanged")
    assert not Stock.objects.get().bars.exists()
    assert Stock.objects.get().checked_at is not None


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("job_type", "parameters", "error"),
    [
        ("stock_fetch", {"symbol": "AAPL", "days": "many"}, "parameters.days: 'many': "),
        ("stock_fetch", {"symbol": "AAPL", "start": "soon"}, "parameters.start: 'soon': "),
        ("stock_batch_fetch", {"days": 30}, "parameters.symbols: Field required"),
        ("stock_research", {}, "parameters.analysis_types: Field required"),
    ],
)
def test_parameters_that_do_not_fit_any_more_fail_the_job_with_their_name(job_type, parameters, error):
    job = new_job()
    Job.objects.filter(pk=job.pk).update(job_type=job_type, parameters=parameters)
    with pytest.raises(JobFailed):
        run_job(job.pk, "worker")
    job.refresh_from_db()
    assert job.status == "failed"
    assert job.error.startswith(error)


@pytest.mark.django_db
def test_a_rollback_leaves_no_job_no_event_and_no_message(django_capture_on_commit_callbacks):
    stock = Stock.objects.create(symbol="AAPL")
    with django_capture_on_commit_callbacks() as messages, transaction.atomic():
        request_fetches([stock], Job.Trigger.USER_REQUEST)
        transaction.set_rollback(True)
    assert not Job.objects.exists()
    assert not JobEvent.objects.exists()
    assert messages == []


@pytest.mark.django_db(transaction=True)
def test_parallel_requests_for_the_same_stocks_make_one_job_each():
    stocks = [Stock.objects.create(symbol=f"S{number}") for number in range(5)]
    together = threading.Barrier(8)

    def ask(turn: int) -> None:
        try:
            together.wait(10)
            request_fetches(stocks if turn % 2 else stocks[::-1], Job.Trigger.USER_REQUEST)
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(8)))
    assert sorted(Job.objects.values_list("symbol", flat=True)) == [f"S{number}" for number in range(5)]
    assert all(job.requests.count() == 8 for job in Job.objects.all())


@pytest.mark.django_db(transaction=True)
def test_parallel_claims_have_one_winner():
    job = new_job()
    together = threading.Barrier(8)

    def take(worker: int) -> bool:
        try:
            together.wait(10)
            return lifecycle.claim(job.pk, f"worker{worker}") is not None
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(take, range(8))) == 1
    assert [seq for seq, _ in steps(job)] == [1, 2, 3]
