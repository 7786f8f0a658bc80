"""A source is sent no more requests than it allows, by all processes together, and none while it wants a pause."""

from datetime import timedelta

import pytest
from django.utils import timezone

from market.jobs.requests import request_batches, request_fetches
from market.models import SourceState, SourceUse, Stock
from market.sources import configured_sources, fetch_history
from market.sources.base import RateLimited, SourceBusy
from market.sources.budget import Budget, spending, usage_of
from market.sources.yahoo.source import YahooFinance
from tasks import limits
from tasks.models import Job
from tasks.running.execute import run_job

pytestmark = pytest.mark.django_db

SOURCE = "yahoo_finance"


@pytest.fixture
def limit(configured):
    """limit(60): so many requests a minute."""

    def limit(requests: int, **values: object) -> None:
        configured(**{"stock_jobs.data_fetch.rate_limit": requests} | values)

    return limit


def spend(budget: Budget, count: int) -> None:
    for _ in range(count):
        budget.spend()


def time_passes(by: timedelta) -> None:
    for use in SourceUse.objects.all():
        SourceUse.objects.filter(pk=use.pk).update(granted_at=use.granted_at - by)
    for source, until in SourceState.objects.values_list("pk", "cooldown_until"):
        SourceState.objects.filter(pk=source).update(cooldown_until=until and until - by)


def pause() -> timedelta:
    """How long the source is still left alone."""
    until = usage_of(SOURCE).pause_until
    assert until
    return until - timezone.now()


def test_what_a_minute_allows_is_shared_by_all_processes(limit):
    limit(10)
    spend(Budget(SOURCE), 6)
    spend(Budget(SOURCE), 4)
    reached = r"Yahoo Finance: rate limit reached \(10 of 10 requests a minute\) until .* UTC"
    with pytest.raises(SourceBusy, match=reached):
        Budget(SOURCE).spend()
    assert usage_of(SOURCE).used == 10
    assert usage_of(SOURCE).left == 0


def test_what_was_used_is_free_again_after_a_minute_and_not_before(limit):
    limit(10)
    spend(Budget(SOURCE), 10)
    time_passes(timedelta(seconds=60))
    with pytest.raises(SourceBusy):
        Budget(SOURCE).spend()
    time_passes(timedelta(seconds=3))
    spend(Budget(SOURCE), 10)


def test_whoever_waits_is_told_when_a_quarter_is_free_again(limit):
    limit(8)
    spend(Budget(SOURCE), 1)
    time_passes(timedelta(seconds=30))
    spend(Budget(SOURCE), 7)
    with pytest.raises(SourceBusy) as busy:
        Budget(SOURCE).spend()
    assert timedelta(seconds=60) < busy.value.until - timezone.now() < timedelta(seconds=63)


def test_work_that_nobody_waits_for_leaves_some_for_those_who_do(limit):
    limit(10)
    budget = Budget(SOURCE)
    with spending(0.7):
        spend(budget, 7)
        with pytest.raises(SourceBusy, match="7 of 10"):
            budget.spend()
    spend(budget, 3)


@pytest.mark.parametrize(("used", "left"), [(0, (10, 9, 7)), (7, (3, 2, 0)), (9, (1, 0, 0)), (10, (0, 0, 0))], ids=str)
def test_the_last_requests_are_kept_for_the_most_urgent_jobs(limit, used, left):
    limit(10)
    SourceUse.objects.create(source=SOURCE, granted_at=timezone.now(), requests=used)
    places = ((Job.Queue.FOREGROUND, 1), (Job.Queue.FOREGROUND, 2), (Job.Queue.BACKGROUND_FETCH, 5))
    found = [(limits.find("prices", queue), priority) for queue, priority in places]
    assert tuple(find(priority).requests for find, priority in found if find) == left


def test_a_high_limit_is_granted_in_parts_that_do_not_exceed_it(limit, django_assert_max_num_queries):
    limit(6_000, **{"integration.apis.yahoo_finance.rate_limit": 6_000})
    budget = Budget(SOURCE)
    budget.spend()
    with django_assert_max_num_queries(0):
        spend(budget, 9)
    assert usage_of(SOURCE).used == 10


def test_a_sources_own_limit_counts_where_it_is_lower(limit):
    limit(10, **{"integration.apis.yahoo_finance.rate_limit": 3})
    spend(Budget(SOURCE), 3)
    with pytest.raises(SourceBusy, match="3 of 3"):
        Budget(SOURCE).spend()


def test_pauses_get_longer_until_the_source_answers_again(limit):
    limit(100, **{"stock_jobs.data_fetch.cooldown": [60, 300]})
    budget = Budget(SOURCE)
    for seconds in (60, 300, 300):
        budget.spend()
        budget.note_refusal(None)
        budget.note_refusal(None)  # another request that was under way
        assert timedelta(seconds=seconds - 5) < pause() <= timedelta(seconds=seconds)
        with pytest.raises(SourceBusy, match="Yahoo Finance is paused until"):
            Budget(SOURCE).spend()
        time_passes(timedelta(seconds=seconds + 1))
    budget.spend()
    budget.note_answer()
    assert SourceState.objects.get().refusals == 0


# Yahoo


def day():
    return timezone.now().date() - timedelta(days=10)


def ask(source: YahooFinance, *symbols: str) -> None:
    for symbol in symbols:
        source.history(symbol, day())


def test_every_request_counts(limit, yahoo):
    limit(60)
    yahoo.serve("AAPL", "NEW.TO")
    before = len(yahoo.server.requests)
    ask(YahooFinance(Budget(SOURCE)), "AAPL", "NEW.TO")
    assert usage_of(SOURCE).used == len(yahoo.server.requests) - before >= 2


@pytest.mark.parametrize("requests", range(1, 4))
def test_wherever_the_budget_ends_nothing_more_is_sent(limit, yahoo, requests):
    yahoo.serve("AAPL", "MSFT", "IINN", "ABEO")
    limit(requests)
    before = len(yahoo.server.requests)
    with pytest.raises(SourceBusy):
        ask(YahooFinance(Budget(SOURCE)), "AAPL", "MSFT", "IINN", "ABEO")
    assert len(yahoo.server.requests) - before == requests


def test_a_refusal_pauses_everybody_for_as_long_as_yahoo_asks(yahoo):
    yahoo.serve("AAPL")
    yahoo.misbehave("rate_limited", retry_after=17)
    with pytest.raises(RateLimited):
        ask(YahooFinance(Budget(SOURCE)), "AAPL")
    assert timedelta(seconds=12) < pause() <= timedelta(seconds=17)
    sent = len(yahoo.server.requests)
    with pytest.raises(SourceBusy, match="is paused until"):
        ask(YahooFinance(Budget(SOURCE)), "AAPL")
    assert len(yahoo.server.requests) == sent


# Jobs


@pytest.fixture
def used_up(limit, yahoo):
    """A budget of which nothing is left."""
    limit(10)
    yahoo.serve("AAPL", "MSFT")
    spend(Budget(SOURCE), 10)


def test_a_job_that_must_wait_goes_back_and_uses_up_no_retry(used_up, yahoo):
    stock = Stock.objects.create(symbol="AAPL")
    job = request_fetches([stock], Job.Trigger.USER_REQUEST).created[0]
    assert run_job(job.pk, "worker") is None
    job.refresh_from_db()
    assert (job.status, job.retries) == ("pending", 0)
    assert job.run_at
    assert timedelta(seconds=50) < job.run_at - timezone.now() < timedelta(seconds=65)
    assert (job.error, job.waiting_for) == ("", "Yahoo Finance's rate limit")
    assert yahoo.asked_for() == []

    time_passes(timedelta(seconds=63))
    assert run_job(job.pk, "worker")
    job.refresh_from_db()
    assert (job.status, job.error) == ("completed", "")


@pytest.mark.django_db(transaction=True)
def test_a_batch_goes_on_with_what_is_left_when_there_is_budget_again(limit, yahoo):
    limit(11)  # of which a batch may use seven: too few for eight stocks
    symbols = [f"B{number}" for number in range(8)]
    yahoo.serve(*symbols)
    stocks = [Stock.objects.create(symbol=symbol) for symbol in symbols]
    job = request_batches(stocks, Job.Trigger.SCHEDULED_UPDATE).created[0]
    configured_sources.cache_clear()
    assert run_job(job.pk, "worker") is None
    first = yahoo.asked_for()
    assert 0 < len(first) < len(symbols)
    result = None
    while result is None:
        time_passes(timedelta(seconds=63))
        before = job.events.filter(event="progress", payload__has_key="symbol").count()
        result = run_job(job.pk, "worker")
    assert sorted(yahoo.asked_for()) == symbols
    assert result["requests"] == len(symbols) - before  # the last attempt's
    job.refresh_from_db()
    assert (job.outcome, job.retries) == ("updated", 0)


def test_the_job_that_was_refused_is_tried_again_after_the_pause(yahoo, limit):
    limit(100, **{"stock_jobs.data_fetch.cooldown": [600], "stock_jobs.data_fetch.retry_backoff": [0]})
    yahoo.serve("AAPL")
    yahoo.misbehave("rate_limited")
    job = request_fetches([Stock.objects.create(symbol="AAPL")], Job.Trigger.USER_REQUEST).created[0]
    assert run_job(job.pk, "worker") is None
    assert run_job(job.pk, "worker") is None
    job.refresh_from_db()
    assert (job.status, job.retries) == ("pending", 1)
    assert job.run_at
    assert timedelta(seconds=590) < job.run_at - timezone.now() < timedelta(seconds=603)


def test_the_sample_source_needs_no_budget(configured):
    configured(**{"stock_jobs.data_fetch.sources": ["sample"], "stock_jobs.data_fetch.rate_limit": 1})
    configured_sources.cache_clear()
    try:
        for _ in range(3):
            assert fetch_history("AAPL", day()).bars
    finally:
        configured_sources.cache_clear()
    assert not SourceUse.objects.exists()


def test_the_admin_shows_what_is_used_what_is_left_and_until_when_there_is_a_pause(limit, admin_client):
    limit(10)
    spend(Budget(SOURCE), 4)
    shown = admin_client.get("/admin/market/sourcestate/").content.decode()
    assert "4 of 10" in shown
    assert "6" in shown
    Budget(SOURCE).note_refusal(17)
    state = SourceState.objects.get()
    assert "1 in a row" in admin_client.get(f"/admin/market/sourcestate/{state.pk}/change/").content.decode()
