"""Quotes answer for many stocks at once. A stock whose bars a quote does not continue is fetched by its chart."""

from collections.abc import Callable
from dataclasses import astuple, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.utils import timezone

from market.jobs.requests import request_batches, request_fetches
from market.models import PriceBar, Stock, TradingSession
from market.prices.store import store_history
from market.sources.base import Bar, History
from tasks.models import Job
from tasks.running.execute import run_message
from tests.support.jobs import result_of, run_once
from tests.support.standins import yahoo_chart
from tests.support.standins.yahoo import QUOTES
from tests.support.standins.yahoo_chart import daily_bars

pytestmark = pytest.mark.django_db(transaction=True)

TUESDAY = date(2026, 3, 10)
NOON = datetime(2026, 3, 10, 17, 0, tzinfo=UTC)
"""On that Tuesday, a few hours after New York's opening."""
SYMBOLS = [f"Q{number}" for number in range(6)]


@pytest.fixture(autouse=True)
def tuesday() -> Any:
    with time_machine.travel(NOON, tick=True):
        yield


@pytest.fixture
def known(yahoo) -> Callable[..., list[Stock]]:
    """known("AAPL"): stocks with the bars of a chart up to Monday; Yahoo has Tuesday's bar, too."""

    def known(*symbols: str, **listing: Any) -> list[Stock]:
        facts = {"exchange": "NMS"} | listing
        for symbol in symbols:
            yahoo.touched.append(symbol)
            bars = without_adjustment(daily_bars(symbol, 25, until=TUESDAY))
            yahoo.server.serve(symbol, bars, **facts)
            Stock.objects.create(symbol=symbol)
            earlier = [Bar(*astuple(bar)) for bar in bars[:-1]]
            answer = History(symbol, "yahoo_finance", earlier, currency="USD", **facts)
            store_history(answer, timezone.now() - timedelta(hours=1))
        keep_sessions_of_new_york()
        return list(Stock.objects.filter(symbol__in=symbols).order_by("pk"))

    return known


def without_adjustment(bars: list[yahoo_chart.Bar]) -> list[yahoo_chart.Bar]:
    """As of a stock that pays no dividends."""
    return [replace(bar, adj_close=bar.close) for bar in bars]


def keep_sessions_of_new_york() -> None:
    """Monday to Friday, a week before and after."""
    days = [TUESDAY + timedelta(days=number) for number in range(-7, 8)]
    TradingSession.objects.bulk_create(
        [
            TradingSession(
                calendar="XNYS",
                opens_at=datetime(day.year, day.month, day.day, 13, 30, tzinfo=UTC),
                closes_at=datetime(day.year, day.month, day.day, 20, 0, tzinfo=UTC),
            )
            for day in days
            if day.weekday() < 5
        ],
        ignore_conflicts=True,
    )


def fetch(*stocks: Stock, trigger: Job.Trigger = Job.Trigger.USER_LOGIN) -> dict[str, dict[str, Any]]:
    """Fetch the stocks as one cohort; their results by symbol."""
    jobs = request_fetches(stocks, trigger).created
    Job.objects.filter(pk__in=[job.pk for job in jobs]).update(dispatched_at=timezone.now())
    run_message(jobs[0].pk, "worker")
    return {job.symbol: result_of(job) for job in Job.objects.filter(pk__in=[job.pk for job in jobs])}


def newest(symbol: str) -> Bar:
    values = PriceBar.objects.filter(stock__symbol=symbol).order_by("-date").values_list(*Bar._fields)[0]
    return Bar._make(values)


def quotes_asked_for(yahoo: Any) -> list[tuple[str, ...]]:
    return [request.quotes_of for request in yahoo.server.quote_requests() if set(request.quotes_of) & set(SYMBOLS)]


def test_one_request_fetches_all_stocks_and_stores_the_bars_of_the_session(yahoo, known):
    stocks = known(*SYMBOLS)
    before = len(quotes_asked_for(yahoo))
    results = fetch(*stocks)
    assert quotes_asked_for(yahoo)[before:] == [tuple(SYMBOLS)]
    assert yahoo.asked_for() == []
    for symbol in SYMBOLS:
        served = without_adjustment(daily_bars(symbol, 25, until=TUESDAY))[-1]
        assert newest(symbol) == Bar(*astuple(served))
        assert results[symbol] == {
            "symbol": symbol,
            "source": "yahoo_finance",
            "records_stored": 1,
            "days_fetched": 1,
            "latest_before": "2026-03-09",
            "latest_after": "2026-03-10",
            "via": "quote",
            "via_reason": "continues the bar of 2026-03-09",
        }
        assert Stock.objects.filter(symbol=symbol, checked_at__gt=timezone.now() - timedelta(minutes=1)).exists()


def test_the_page_of_a_job_says_what_answered_and_why(yahoo, known, admin_client):
    stocks = known("Q0")
    fetch(*stocks)
    page = admin_client.get(f"/admin/tasks/job/{Job.objects.get().pk}/change/").content.decode()
    assert "quote: continues the bar of 2026-03-09" in page


def test_a_second_quote_of_the_session_replaces_its_bar(yahoo, known):
    (stock,) = known("Q0")
    fetch(stock)
    later = yahoo.server.quote_of("Q0", regularMarketPrice=newest("Q0").close * 1.001, regularMarketDayHigh=10_000.0)
    yahoo.server.serve_quote("Q0", later)
    assert fetch(stock, trigger=Job.Trigger.USER_REQUEST)["Q0"]["records_stored"] == 1
    assert newest("Q0").close == pytest.approx(later["regularMarketPrice"])
    assert stock.bars.filter(date=TUESDAY).count() == 1


def test_the_same_quote_again_changes_nothing(yahoo, known):
    (stock,) = known("Q0")
    fetch(stock)
    found = fetch(stock, trigger=Job.Trigger.USER_REQUEST)["Q0"]
    assert (found["records_stored"], found["via"]) == (0, "quote")


def test_a_quote_that_says_what_a_chart_said_keeps_its_bar_with_its_adjustment(yahoo, known):
    (stock,) = known("Q0")
    served = daily_bars("Q0", 25, until=TUESDAY)[-1]
    opening, high, low, close, adj_close = (price * (1 + 3e-8) for price in astuple(served)[1:6])
    as_single_precision = Bar(served.date, opening, high, low, close, adj_close, served.volume)
    PriceBar.objects.create(stock=stock, **as_single_precision._asdict())
    assert fetch(stock)["Q0"]["records_stored"] == 0
    assert newest("Q0") == as_single_precision


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"regularMarketPreviousClose": 1.5}, "the previous close is 1.5, and the stored close of 2026-03-09 is"),
        ({"currency": "GBp"}, "the currency of the quote is GBp, and USD is stored"),
        ({"exchange": "NYQ"}, "the exchange of the quote is NYQ, and NMS is stored"),
        ({"exchange": ...}, "the exchange of the quote is missing, and NMS is stored"),
        ({"regularMarketPrice": None}, "the quote has no regularMarketPrice"),
        ({"symbol": "QRENAMED"}, "the answer has no quote of the symbol"),
        ({"regularMarketTime": int(NOON.timestamp()) + 7200}, "the time of the quote is in the future"),
        (
            {"regularMarketTime": int(NOON.timestamp()) - 5 * 86_400},
            "the quote is of 2026-03-05, and a bar of",
        ),
        ({"regularMarketVolume": 0}, "no trade yet, and the price differs from the close of 2026-03-09"),
    ],
    ids=str,
)
def test_a_stock_whose_bars_its_quote_does_not_continue_is_fetched_by_chart_and_no_other(yahoo, known, change, reason):
    stocks = known("Q0", "Q1", "Q2")
    yahoo.server.serve_quote("Q1", yahoo.server.quote_of("Q1", **change))
    results = fetch(*stocks)
    assert yahoo.asked_for() == ["Q1"]
    assert results["Q1"]["via"] == "chart"
    assert results["Q1"]["via_reason"].startswith(reason)
    assert [results[symbol]["via"] for symbol in ("Q0", "Q2")] == ["quote", "quote"]
    assert newest("Q1").date == TUESDAY


def test_a_quote_without_a_trade_leaves_the_bars_and_counts_as_a_check(yahoo, known):
    (stock,) = known("Q0")
    last = newest("Q0")
    nothing = {"regularMarketVolume": 0, "regularMarketOpen": 0, "regularMarketDayLow": None}
    yahoo.server.serve_quote("Q0", yahoo.server.quote_of("Q0", regularMarketPrice=last.close, **nothing))
    found = fetch(stock)["Q0"]
    assert (found["via"], found["records_stored"]) == ("quote", 0)
    assert found["via_reason"] == "no trade since the bar of 2026-03-09"
    assert newest("Q0") == last


def test_a_missing_session_needs_the_chart(yahoo, known):
    (stock,) = known("Q0")
    stock.bars.filter(date=date(2026, 3, 9)).delete()
    found = fetch(stock)["Q0"]
    assert found["via_reason"] == "no bar of the previous session, 2026-03-09, is stored"
    assert stock.bars.filter(date=date(2026, 3, 9)).exists()


def test_a_holiday_is_no_missing_session(yahoo, known):
    (stock,) = known("Q0")
    monday = date(2026, 3, 9)
    TradingSession.objects.filter(opens_at__date=monday).delete()
    stock.bars.filter(date=monday).delete()
    friday = newest("Q0").close
    yahoo.server.serve_quote("Q0", yahoo.server.quote_of("Q0", regularMarketPreviousClose=friday))
    assert fetch(stock)["Q0"]["via_reason"] == "continues the bar of 2026-03-06"


def test_without_known_sessions_the_day_before_is_the_last_weekday(yahoo, known):
    (stock,) = known("Q0")
    TradingSession.objects.all().delete()
    with time_machine.travel(NOON - timedelta(days=1)):  # a Monday, and Friday's bar is stored
        monday = yahoo.server.quote_of("Q0", regularMarketTime=int(timezone.now().timestamp()))
        friday = stock.bars.get(date=date(2026, 3, 6)).close
        yahoo.server.serve_quote("Q0", monday | {"regularMarketPreviousClose": friday})
        assert fetch(stock, trigger=Job.Trigger.USER_REQUEST)["Q0"]["via_reason"] == "continues the bar of 2026-03-06"
    assert TradingSession.objects.filter(calendar="XNYS").exists()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda stock: stock.bars.all().delete(), "no recent bar is stored"),
        (lambda stock: Stock.objects.update(is_outdated=True), "the stored bars are not adjusted"),
        (lambda stock: Stock.objects.update(source="alpha_vantage"), "the stored bars are as traded"),
    ],
)
def test_no_quote_is_asked_for_where_none_could_be_used(yahoo, known, spoil, reason):
    (stock,) = known("Q0")
    spoil(stock)
    before = len(quotes_asked_for(yahoo))
    assert fetch(stock)["Q0"]["via_reason"] == reason
    assert quotes_asked_for(yahoo)[before:] == []


@pytest.mark.parametrize("how", ["malformed", "null_body", "server_error", "unauthorized", "not_found", "cut"])
def test_while_there_are_no_quotes_charts_are_asked_for(yahoo, known, how):
    stocks = known("Q0", "Q1")
    yahoo.misbehave(how, QUOTES)
    results = fetch(*stocks)
    assert sorted(yahoo.asked_for()) == ["Q0", "Q1"]
    assert {one["via_reason"].partition(":")[0] for one in results.values()} == {"no quotes"}


def test_a_refused_request_for_quotes_sends_no_chart(yahoo, known):
    stocks = known("Q0", "Q1")
    yahoo.misbehave("rate_limited", QUOTES)
    jobs = request_fetches(stocks, Job.Trigger.USER_LOGIN).created
    Job.objects.update(dispatched_at=timezone.now())
    run_message(jobs[0].pk, "worker")
    assert yahoo.asked_for() == []
    assert [job.status for job in Job.objects.all()] == ["pending", "pending"]
    assert [job.retries for job in Job.objects.all()] == [0, 0]


def test_a_chart_that_fails_costs_the_others_nothing(yahoo, known):
    stocks = known("Q0", "Q1", "Q2")
    for symbol in ("Q1", "Q2"):
        yahoo.server.serve_quote(symbol)
    yahoo.misbehave("malformed", "Q1")
    jobs = request_fetches(stocks, Job.Trigger.USER_LOGIN).created
    Job.objects.update(dispatched_at=timezone.now())
    run_message(jobs[0].pk, "worker")
    assert {job.symbol: job.status for job in Job.objects.all()} == {
        "Q0": "completed",
        "Q1": "pending",
        "Q2": "completed",
    }


def test_an_unknown_symbol_is_an_answer(yahoo, known):
    stocks = known("Q0", "Q1")
    yahoo.server.forget("Q1")
    jobs = request_fetches(stocks, Job.Trigger.USER_LOGIN).created
    Job.objects.update(dispatched_at=timezone.now())
    run_message(jobs[0].pk, "worker")
    gone = Job.objects.get(symbol="Q1")
    assert (gone.status, gone.error) == ("failed", "Yahoo Finance has no data for Q1")
    assert Stock.objects.get(symbol="Q1").misses == 1
    assert Job.objects.get(symbol="Q0").status == "completed"


def test_a_stock_that_was_never_fetched_is_fetched_alone_by_its_chart(yahoo, known):
    (old,) = known("Q0")
    yahoo.serve("Q1")
    new = Stock.objects.create(symbol="Q1")
    jobs = {job.symbol: job for job in request_fetches([old, new], Job.Trigger.USER_LOGIN).created}
    assert (jobs["Q0"].cohort, jobs["Q1"].cohort) == ("stock_fetch", "")


def test_with_a_quote_size_of_one_there_are_charts_alone(yahoo, known, configure):
    configure(**{"stock_jobs.data_fetch.quote_size": 1})
    (stock,) = known("Q0")
    found = fetch(stock)["Q0"]
    assert (found["via"], found["via_reason"]) == ("chart", "quotes are not used")


def test_a_batch_asks_for_quotes_first(yahoo, known, configure):
    stocks = known(*SYMBOLS)
    yahoo.server.serve_quote("Q3")
    before = len(quotes_asked_for(yahoo))
    (job,) = request_batches(stocks, Job.Trigger.SCHEDULED_UPDATE).created
    Job.objects.update(dispatched_at=timezone.now())
    result = run_message(job.pk, "worker")[job.pk]
    assert isinstance(result, dict)
    assert quotes_asked_for(yahoo)[before:] == [tuple(SYMBOLS)]
    assert yahoo.asked_for() == ["Q3"]
    via = {symbol: member["via"] for symbol, member in result["results"].items()}
    assert via == dict.fromkeys(SYMBOLS, "quote") | {"Q3": "chart"}
    assert result["requests"] == 2
    assert job.events.filter(event="progress").count() == len(SYMBOLS)


@pytest.mark.parametrize(("size", "requests"), [(50, 1), (4, 2), (1, 6)])
def test_a_batch_tells_how_many_requests_it_made(yahoo, known, configure, size, requests):
    configure(**{"stock_jobs.data_fetch.quote_size": size})
    (job,) = request_batches(known(*SYMBOLS), Job.Trigger.SCHEDULED_UPDATE).created
    before = len(quotes_asked_for(yahoo))
    assert result_of(run_once(job))["requests"] == requests
    assert len(quotes_asked_for(yahoo)[before:]) + len(yahoo.asked_for()) == requests


def test_a_request_for_quotes_that_fails_counts_too(yahoo, known):
    (job,) = request_batches(known("Q0", "Q1"), Job.Trigger.SCHEDULED_UPDATE).created
    yahoo.misbehave("server_error", QUOTES)
    assert result_of(run_once(job))["requests"] == 3


def test_analyses_of_a_login_are_requested_together_for_its_user(yahoo, known, user, configure):
    configure(**{"stock_jobs.analysis.at_login": ("technical",)})
    stocks = known("Q0", "Q1")
    jobs = request_fetches(stocks, Job.Trigger.USER_LOGIN, user).created
    Job.objects.update(dispatched_at=timezone.now())
    run_message(jobs[0].pk, "worker")
    analyses = Job.objects.filter(job_type=Job.Type.STOCK_ANALYSIS, subtype="technical")
    assert {(job.symbol, job.user_id) for job in analyses} == {("Q0", user.pk), ("Q1", user.pk)}
