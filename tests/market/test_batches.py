"""A batch stores together what comes together, and tells each stock by itself."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext

from market.jobs.fetches import asking, storing
from market.jobs.requests import request_batches, request_fetches
from market.models import PriceBar, Stock
from market.prices.store import Stored, store_histories
from market.sources import fetch_history
from market.sources.base import Bar, History
from tasks.models import Job
from tasks.running.execute import run_job
from tests.support.standins.yahoo import daily_bars

pytestmark = pytest.mark.django_db(transaction=True)

SYMBOLS = [f"TOGETHER{number}" for number in range(8)]


@pytest.fixture(autouse=True)
def in_groups(configured, monkeypatch) -> None:
    """All that is under way, two of these batches, counts as come together."""
    configured(**{"stock_jobs.data_fetch.concurrency": 2})
    monkeypatch.setattr(asking, "TOGETHER", 60.0)


@pytest.fixture
def batch(yahoo) -> Callable[..., Job]:
    """batch("AAPL"): a job for stocks that Yahoo knows."""

    def batch(*symbols: str) -> Job:
        yahoo.serve(*symbols)
        stocks = [Stock.objects.create(symbol=symbol) for symbol in symbols]
        return request_batches(stocks, Job.Trigger.SCHEDULED_UPDATE).created[0]

    return batch


@pytest.fixture
def spoil(monkeypatch) -> dict[str, dict[str, Any]]:
    """spoil["AAPL"] = {"close": nan}: answers for the symbol have this in each bar."""
    changes: dict[str, dict[str, Any]] = {}

    def fetch(symbol: str, *days: Any) -> History:
        history = fetch_history(symbol, *days)
        return replace(history, bars=[Bar(*bar)._replace(**changes.get(symbol, {})) for bar in history.bars])

    monkeypatch.setattr("market.jobs.fetches.asking.fetch_history", fetch)
    return changes


def progress(job: Job) -> list[dict[str, Any]]:
    return list(job.events.filter(event="progress").order_by("seq").values_list("payload", flat=True))


def test_each_stock_has_an_event_in_the_order_of_the_batch_and_seq_has_no_gaps(batch):
    job = batch(*SYMBOLS)
    assert run_job(job.pk, "worker")

    told = progress(job)
    assert [(one["symbol"], one["done"], one["total"]) for one in told] == [
        (symbol, done, 8) for done, symbol in enumerate(SYMBOLS, 1)
    ]
    assert {one["state"] for one in told} == {"running"}
    events = list(job.events.order_by("pk").values_list("seq", "event"))
    assert [seq for seq, _ in events] == list(range(1, len(events) + 1))
    job.refresh_from_db()
    assert job.last_seq == len(events)


def test_four_stocks_that_come_together_take_as_many_statements_as_one(batch):
    counts = []
    for symbols in (["AAPL"], ["MSFT"], SYMBOLS[:4]):
        job = batch(*symbols)
        with CaptureQueriesContext(connection) as queries:
            assert run_job(job.pk, "worker")
        counts.append(len(queries))
    assert counts[1] == counts[2]  # the first writes down when the exchange trades


def test_an_unknown_stock_among_others_is_told_in_its_place(batch, yahoo):
    job = batch("AAPL", "ZZTOP", "MSFT")
    yahoo.server.forget("ZZTOP")
    result = run_job(job.pk, "worker")
    assert result
    assert [(one["symbol"], one["success"]) for one in progress(job)] == [
        ("AAPL", True),
        ("ZZTOP", False),
        ("MSFT", True),
    ]
    assert Stock.objects.get(symbol="ZZTOP").misses == 1
    assert PriceBar.objects.values("stock").distinct().count() == 2


@pytest.mark.parametrize("change", [{"close": float("nan")}, {"volume": 2**70}, {"open": "\ud800"}], ids=ascii)
def test_one_that_cannot_be_stored_costs_no_other(batch, spoil, configured, change):
    configured(**{"stock_jobs.data_fetch.concurrency": 1})  # others are asked for after it
    job = batch(*SYMBOLS)
    spoil[SYMBOLS[1]] = change
    result = run_job(job.pk, "worker")
    assert result
    assert result["results"][SYMBOLS[1]]["error"].startswith(f"the answer for {SYMBOLS[1]} cannot be stored: ")
    assert [one["symbol"] for one in progress(job)] == SYMBOLS
    others = set(SYMBOLS) - {SYMBOLS[1]}
    assert set(PriceBar.objects.values_list("stock__symbol", flat=True)) == others
    assert set(Stock.objects.exclude(checked_at=None).values_list("symbol", flat=True)) == others
    assert Job.objects.get(pk=job.pk).outcome == "partial"


def test_a_database_that_fails_ends_the_attempt_and_the_next_goes_on_with_what_is_left(batch, monkeypatch, yahoo):
    def fail_for(history: History) -> None:
        if history.symbol == "MSFT":
            raise OperationalError("the disk is full")

    def store(histories: list[History], *moment: Any, **options: Any) -> list[Stored]:
        for history in histories:
            fail_for(history)
        return store_histories(histories, *moment, **options)

    job = batch("AAPL", "MSFT", "IINN")
    with monkeypatch.context() as patched:
        patched.setattr(storing, "store_histories", store)
        assert run_job(job.pk, "worker") is None
    job.refresh_from_db()
    assert (job.status, job.retries, job.error) == ("pending", 1, "OperationalError: the disk is full")
    assert [one["symbol"] for one in progress(job)] == ["AAPL"]

    asked_before = len(yahoo.server.chart_requests())
    result = run_job(job.pk, "worker")
    assert result
    assert set(result["results"]) == {"AAPL", "MSFT", "IINN"}
    assert {one.symbol for one in yahoo.server.chart_requests()[asked_before:]} == {"MSFT", "IINN"}
    assert [one["symbol"] for one in progress(job)] == ["AAPL", "MSFT", "IINN"]


def test_a_stock_that_was_removed_while_yahoo_answered_costs_no_other(batch, monkeypatch):
    job = batch("AAPL", "MSFT", "IINN")
    gone = Stock.objects.filter(symbol="MSFT")
    monkeypatch.setattr(
        "market.jobs.fetches.batch.keep_sessions", lambda exchange: gone.delete()
    )  # called before anything is stored
    result = run_job(job.pk, "worker")
    assert result
    assert result["results"]["MSFT"] == {"success": False, "error": "MSFT no longer exists"}
    assert set(PriceBar.objects.values_list("stock__symbol", flat=True)) == {"AAPL", "IINN"}


def test_garbage_of_many_kinds_costs_only_what_it_is_in(yahoo):
    told: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "NUL": ({"name": "Apple\x00 Inc.\x1b[0m", "currency": "US\x00D", "exchange": "CC\x00C"}, {}),
        "HALF": ({"name": "Half \ud83d of a smile", "currency": "\udfffUSD", "exchange": "\ud800CCC"}, {}),
        "LONG": ({"name": "  N\n" * 300, "currency": "USD" * 9}, {}),
        "MANY": ({}, {"volume": 10**19}),
        "FEWER": ({}, {"volume": -5}),
        "HIGH": ({}, {"close": 1e308, "adj_close": 1e308}),
        "HIGHER": ({}, {"open": 1e15, "close": float("inf")}),
        "SOUND": ({}, {}),
    }
    for symbol, (listing, change) in told.items():
        *bars, last = daily_bars(symbol, 25)
        yahoo.touched.append(symbol)
        yahoo.server.serve(symbol, [*bars, replace(last, **change)], **listing)
    (job,) = request_batches(Stock.objects.find_or_create(list(told)), Job.Trigger.SCHEDULED_UPDATE).created
    result = run_job(job.pk, "worker")
    assert result
    assert all(one["success"] for one in result["results"].values()), result
    stocks = {stock.symbol: stock for stock in Stock.objects.all()}
    assert [stocks["NUL"].name, stocks["NUL"].currency, stocks["NUL"].exchange] == ["Apple Inc. [0m", "US D", "CC C"]
    assert [stocks["HALF"].name, stocks["HALF"].currency] == ["Half of a smile", "USD"]
    assert (len(stocks["LONG"].name), stocks["LONG"].currency) == (200, "USDUSDU…")
    newest = {symbol: stock.bars.latest("date") for symbol, stock in stocks.items()}
    assert {symbol for symbol, bar in newest.items() if bar.volume is None} == {"MANY", "FEWER"}
    assert {symbol for symbol, bar in newest.items() if bar.date < newest["SOUND"].date} == {"HIGH", "HIGHER"}


def test_a_member_is_passed_over_that_is_fresh_or_on_its_way_or_gone_when_its_turn_comes(batch, yahoo):
    job = batch("AAPL", "MSFT", "IINN", "CADL")
    assert run_job(request_fetches([Stock.objects.get(symbol="AAPL")], Job.Trigger.USER_REQUEST).created[0].pk, "w")
    request_fetches([Stock.objects.get(symbol="MSFT")], Job.Trigger.USER_REQUEST)
    Stock.objects.get(symbol="IINN").delete()

    result = run_job(job.pk, "worker")

    assert result
    skipped = {symbol: one["skipped"] for symbol, one in result["results"].items() if "skipped" in one}
    assert set(skipped) == {"AAPL", "MSFT", "IINN"}
    assert (skipped["MSFT"], skipped["IINN"]) == ("active in another job", "deleted")
    assert [one["symbol"] for one in progress(job)] == ["CADL"]


def test_one_answer_that_cannot_be_read_costs_no_other_and_is_asked_for_again(batch, yahoo, configured):
    configured(**{"stock_jobs.data_fetch.concurrency": 1, "stock_jobs.data_fetch.max_retries": 1})
    job = batch(*SYMBOLS)
    yahoo.misbehave("malformed", SYMBOLS[0])
    assert run_job(job.pk, "worker") is None
    job.refresh_from_db()
    assert (job.status, job.error) == ("pending", f"Yahoo Finance sent an answer for {SYMBOLS[0]} that is not a chart")
    assert [one["symbol"] for one in progress(job)] == SYMBOLS[1:]

    asked_before = len(yahoo.server.chart_requests())
    result = run_job(job.pk, "worker")
    assert result
    assert {one.symbol for one in yahoo.server.chart_requests()[asked_before:]} == {SYMBOLS[0]}
    assert [symbol for symbol, one in result["results"].items() if not one["success"]] == [SYMBOLS[0]]
    assert Job.objects.get(pk=job.pk).outcome == "partial"


def test_a_batch_that_names_a_stock_twice_fetches_it_once(batch, yahoo):
    job = batch("AAPL")
    Job.objects.filter(pk=job.pk).update(parameters={"symbols": ["AAPL", "AAPL"]})
    assert run_job(job.pk, "worker")
    assert [one["symbol"] for one in progress(job)] == ["AAPL"]


def test_no_more_requests_than_concurrency_says_are_on_their_way_at_the_same_time(batch, yahoo, started):
    job = batch(*SYMBOLS)
    before = len(yahoo.server.chart_requests())
    yahoo.server.hold_back()
    started(lambda: run_job(job.pk, "worker"))
    yahoo.server.wait_for_requests(before + 2)
    with pytest.raises(TimeoutError):  # its threads are more, and have work
        yahoo.server.wait_for_requests(before + 3, timeout=1)
    yahoo.server.release()
    assert len(yahoo.server.wait_for_requests(before + len(SYMBOLS))) == before + len(SYMBOLS)


@pytest.fixture
def started() -> Iterator[Callable[[Callable[[], object]], None]]:
    """started(work): it runs in a thread of its own, and has ended when the test has."""
    threads: list[threading.Thread] = []

    def start(work: Callable[[], object]) -> None:
        def run() -> None:
            try:
                work()
            finally:
                connection.close()

        threads.append(threading.Thread(target=run))
        threads[-1].start()

    yield start
    for thread in threads:
        thread.join(30)
