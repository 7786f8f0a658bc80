"""The last good bars as an answer, where every source failed and no attempt follows: the stock stays stale."""

from datetime import date, timedelta
from typing import Any

import pytest
from django.utils import timezone

from market.freshness import stale_at
from market.jobs.fetches import asking
from market.jobs.requests import request_batches, request_fetches
from market.models import SourceUse, Stock
from market.prices.store import store_history
from market.sources import configured_sources
from market.sources.base import AccessRefused, Bar, History
from portfolio.holdings import held_stocks, statements
from tasks.models import Job
from tasks.running.execute import JobFailed, run_job
from tests.support.jobs import new_job

pytestmark = pytest.mark.django_db

DAY = date(2026, 11, 20)
CHECKED = timezone.now() - timedelta(days=20)
REASON = f"Yahoo Finance answered 503 for AAPL; the last good bars, of {DAY}, are shown"


@pytest.fixture
def store(yahoo):
    """store("AAPL"): stocks that were checked long ago, each with a bar; Yahoo knows them."""

    def store(*symbols: str) -> list[Stock]:
        yahoo.serve(*symbols)
        stocks = [Stock.objects.get_or_create(symbol=symbol)[0] for symbol in symbols]
        for symbol in symbols:
            bars = [Bar(DAY, 1.0, 1.0, 1.0, 1.5, 1.5, 7)]
            store_history(History(symbol, "yahoo_finance", bars, currency="USD"), CHECKED)
        return stocks

    return store


@pytest.fixture
def last_attempt(configured):
    """Failures are final."""
    configured(**{"stock_jobs.data_fetch.max_retries": 0})


def done(job: Job) -> dict[str, Any]:
    """Run the job, which ends with this result."""
    result = run_job(job.pk, "worker")
    job.refresh_from_db()
    assert result
    assert job.result == result
    return result


def test_the_last_good_bars_are_the_answer_when_the_retries_are_used_up(store, yahoo):
    store("AAPL")
    yahoo.misbehave("server_error")
    job = new_job()
    for _retry in range(3):
        assert run_job(job.pk, "worker") is None
        job.refresh_from_db()
        assert (job.status, job.error) == ("pending", "Yahoo Finance answered 503 for AAPL")

    result = done(job)

    assert (job.status, job.outcome, job.attempt, job.retries) == ("completed", "unchanged", 4, 3)
    assert result == {
        "symbol": "AAPL",
        "source": "cached",
        "records_stored": 0,
        "days_fetched": 0,
        "reason": REASON,
    }


def test_an_error_that_does_not_pass_is_not_waited_for(store, monkeypatch):
    def refuse(*_asked: object) -> None:
        raise AccessRefused("The source wants a better key")

    store("AAPL")
    monkeypatch.setattr(asking, "fetch_history", refuse)
    job = new_job()

    result = done(job)

    assert (job.outcome, job.attempt) == ("unchanged", 1)
    assert result["source"] == "cached"
    assert result["reason"].startswith("The source wants a better key; the last good bars")


def test_the_stock_is_not_checked_by_that_and_stays_stale(store, yahoo, user, hold, last_attempt):
    hold(user, "AAPL")
    store("AAPL")
    yahoo.misbehave("server_error")
    request_fetches(held_stocks(user), Job.Trigger.USER_LOGIN, user)

    assert run_job(Job.objects.get().pk, "worker")

    stock = Stock.objects.get()
    assert (stock.source, stock.checked_at, stock.misses) == ("yahoo_finance", CHECKED, 0)
    assert stale_at(held_stocks(user), timezone.now()) == [stock]
    assert request_fetches([stock], Job.Trigger.USER_LOGIN, user).created


def test_the_page_says_that_they_are_stale_and_why(store, yahoo, user, hold, last_attempt, client):
    hold(user, "AAPL")
    store("AAPL")
    yahoo.misbehave("server_error")
    client.force_login(user)
    for job in Job.objects.active():
        run_job(job.pk, "worker")

    page = client.get("/").content.decode()

    assert '<span class="badge stale">stale</span>' in page
    assert REASON in page
    assert str(DAY) in page
    assert "badge fresh" not in page


def test_what_is_fetched_later_ends_the_notice(store, yahoo, user, hold, last_attempt):
    hold(user, "AAPL")
    [stock] = store("AAPL")
    yahoo.misbehave("server_error")
    run_job(new_job().pk, "worker")
    assert statements(user)[0].positions[0].error == REASON
    yahoo.server.behave("*")

    run_job(request_fetches([stock], Job.Trigger.USER_REQUEST).created[0].pk, "worker")

    assert statements(user)[0].positions[0].error == ""


def test_a_symbol_that_no_source_knows_any_more_is_a_miss(store, yahoo, last_attempt):
    store("AAPL")
    yahoo.server.forget("AAPL")
    with pytest.raises(JobFailed, match="Yahoo Finance has no data for AAPL"):
        run_job(new_job().pk, "worker")
    assert Stock.objects.get().misses == 1


@pytest.mark.parametrize("stored", [True, False])
def test_without_bars_or_without_the_setting_the_job_fails(store, yahoo, configured, stored):
    if stored:
        store("AAPL")
    sources = ["yahoo_finance"] if stored else ["yahoo_finance", "cached"]
    configured(**{"stock_jobs.data_fetch.sources": sources, "stock_jobs.data_fetch.max_retries": 0})
    configured_sources.cache_clear()
    yahoo.misbehave("malformed")
    with pytest.raises(JobFailed, match="not a chart"):
        run_job(new_job().pk, "worker")


def test_a_backfill_that_brings_nothing_fails(store, yahoo, last_attempt):
    [stock] = store("AAPL")
    yahoo.misbehave("server_error")
    job = request_fetches([stock], Job.Trigger.USER_REQUEST, start=DAY, end=DAY).created[0]
    with pytest.raises(JobFailed, match="answered 503"):
        run_job(job.pk, "worker")


def test_a_job_that_waits_for_the_budget_goes_on_waiting(store, yahoo, configured):
    configured(**{"stock_jobs.data_fetch.max_retries": 0, "stock_jobs.data_fetch.rate_limit": 1})
    store("AAPL")
    SourceUse.objects.create(source="yahoo_finance", granted_at=timezone.now(), requests=1)
    job = new_job()
    assert run_job(job.pk, "worker") is None
    job.refresh_from_db()
    assert (job.status, job.retries) == ("pending", 0)
    assert job.waiting_for == "Yahoo Finance's rate limit"


# Batches


@pytest.fixture
def batch(store, transactional_db):
    """batch("AAPL", "MSFT"): a job for stored stocks."""

    def batch(*symbols: str) -> Job:
        return request_batches(store(*symbols), Job.Trigger.SCHEDULED_UPDATE).created[0]

    return batch


@pytest.mark.django_db(transaction=True)
def test_a_batch_is_partial_where_some_are_left_at_the_last_good_bars(batch, yahoo, last_attempt):
    job = batch("AAPL", "MSFT")
    yahoo.misbehave("server_error", "AAPL")

    result = done(job)

    assert job.outcome == "partial"
    members = result["results"]
    assert members["AAPL"] == {"success": True, "records": 0, "source": "cached", "reason": REASON}
    assert members["MSFT"]["source"] == "yahoo_finance"
    assert Stock.objects.get(symbol="AAPL").checked_at == CHECKED
    told = job.events.filter(event="progress").values_list("payload__symbol", "payload__source")
    assert dict(told) == {"AAPL": "cached", "MSFT": "yahoo_finance"}


@pytest.mark.django_db(transaction=True)
def test_a_batch_of_which_nothing_came_says_so(batch, yahoo, last_attempt):
    job = batch("AAPL", "MSFT")
    yahoo.misbehave("malformed")

    result = done(job)

    assert job.outcome == "unchanged"
    assert result["reason"].startswith("none of 2 stocks was fetched; Yahoo Finance sent an answer")
    assert {member["source"] for member in result["results"].values()} == {"cached"}


@pytest.mark.django_db(transaction=True)
def test_a_batch_that_will_be_tried_again_waits_for_that(batch, yahoo):
    job = batch("AAPL", "MSFT")
    yahoo.misbehave("server_error", "AAPL")

    assert run_job(job.pk, "worker") is None

    job.refresh_from_db()
    assert (job.status, job.retries) == ("pending", 1)
    assert [event.payload["symbol"] for event in job.events.filter(event="progress")] == ["MSFT"]

    yahoo.server.behave("AAPL")
    result = run_job(job.pk, "worker")

    assert result
    assert {symbol: one["success"] for symbol, one in result["results"].items()} == {"MSFT": True, "AAPL": True}
    assert "skipped" not in result["results"]["MSFT"]
