"""Analysis jobs: what they store, the history that they ask for first, and when there is nothing to do."""

import json
import subprocess
import sys
from datetime import date, timedelta
from functools import partial
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from market.analysis.technical.analyse import ENOUGH_BARS, HISTORY_BARS, analyse
from market.analysis.technical.indicators import NEEDED, Prices, latest
from market.analysis.technical.rule import recommend_by_indicators
from market.jobs.requests import request_analyses, request_fetches
from market.models import Analysis, PriceBar, Stock
from tasks.control import cancel
from tasks.describe import describe_end
from tasks.models import Job
from tasks.running.execute import run_job
from tasks.state import lifecycle
from tasks.upkeep.sweeper import sweep
from tests.conftest import ROOT
from tests.contracts.test_commands import call, refused
from tests.support import prices
from tests.support.jobs import run_once as run
from tests.support.prices import LAST_SESSION

pytestmark = pytest.mark.django_db

LAST = date(2026, 3, 6)
Kind = Analysis.Kind


stored = partial(prices.stored, until=LAST)


def request(stock: Stock, **options: Any) -> Job:
    return request_analyses([stock], Job.Trigger.USER_REQUEST, **options).jobs[0]


def history_jobs() -> list[Job]:
    return list(Job.objects.filter(job_type=Job.Type.STOCK_FETCH).order_by("created_at"))


# What is stored


def test_an_analysis_stores_indicators_recommendation_and_reasons():
    stock = stored()
    job = run(request(stock))
    bars = stock.bars.order_by("date").values_list("date", "high", "low", "close", "adj_close")
    expected = latest(Prices(*zip(*bars, strict=True)))
    assert expected is not None
    found = Analysis.objects.get()
    assert (found.stock, found.kind, found.data_as_of, found.bars) == (stock, "technical", LAST, 300)
    assert found.values == {"close": expected.close, **expected.values()}
    assert None not in found.values.values()
    assert (found.recommendation, found.confidence) == recommend_by_indicators(expected)[:2]
    assert found.contributions == [one._asdict() for one in recommend_by_indicators(expected).contributions]
    assert (found.version, found.tokens, found.bars_changed_at) == ("technical/2", None, stock.bars_changed_at)
    assert (job.status, job.outcome) == ("completed", "updated")
    assert job.result == {
        "symbol": "AAPL",
        "analysis_types": ["technical"],
        "lacking": [],
        "version": "technical/2",
        "recommendation": found.recommendation,
        "confidence": found.confidence,
        "data_as_of": "2026-03-06",
        "bars": 300,
    }
    assert describe_end(job) == (
        f"updated: {found.recommendation}, confidence {found.confidence:.2f}, of 300 bars until 2026-03-06"
    )


def test_an_analysis_runs_in_the_background_and_tells_its_types():
    job = request(stored())
    assert (job.queue, job.priority, job.symbol) == ("background_analysis", 7, "AAPL")
    assert job.parameters == {"symbol": "AAPL", "analysis_types": ["technical"], "triggered_by": "user_request"}


def test_an_analysis_that_is_on_its_way_is_joined_and_one_of_other_types_is_not(user):
    stock = stored()
    first = request(stock)
    again = request_analyses([stock], Job.Trigger.BACKGROUND_ANALYSIS, user)
    assert again.joined == [first]
    assert request(stock, analysis_types=[Kind.NEWS]) != first


def test_the_newest_two_years_are_read():
    found = analyse(stored(days=700))
    assert found is not None
    assert found.bars == HISTORY_BARS
    assert max(NEEDED.values()) == ENOUGH_BARS


def test_a_bar_without_high_and_low_costs_the_atr_alone():
    job = run(request(stored(high=None, low=None, open=None)))
    assert job.result is not None
    assert (job.outcome, job.result["lacking"]) == ("updated", ["atr_14"])


def test_the_newest_of_each_stock_and_kind_are_found_in_one_query(django_assert_num_queries):
    stocks = [stored(symbol, 1) for symbol in ("AAPL", "MSFT", "NVDA")]
    made = [
        Analysis.objects.create(stock=stock, kind=kind, version=str(number))
        for number in range(3)
        for stock in stocks
        for kind in (Kind.TECHNICAL, Kind.NEWS)
    ]
    with django_assert_num_queries(1):
        assert set(Analysis.objects.newest(stocks[:2])) == {one for one in made[-6:] if one.stock in stocks[:2]}


def test_the_newest_are_found_by_their_index():
    stock = stored(days=1)
    Analysis.objects.create(stock=stock, kind=Kind.TECHNICAL, version="1")
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")
    assert "analysis_newest" in Analysis.objects.newest([stock]).explain()


@pytest.mark.parametrize("confidence", [-0.1, 1.1])
def test_a_confidence_outside_0_to_1_cannot_be_stored(confidence):
    stock = stored(days=1)
    with pytest.raises(IntegrityError, match="confidence_is_0_to_1"), transaction.atomic():
        Analysis.objects.create(stock=stock, kind=Kind.TECHNICAL, version="1", confidence=confidence)


# What was done already


def test_a_second_analysis_of_the_same_bars_changes_nothing_and_repeats_the_answer():
    stock = stored()
    first, second = run(request(stock)), run(request(stock))
    assert first.result is not None
    assert second.result is not None
    assert (second.outcome, Analysis.objects.count()) == ("unchanged", 1)
    assert second.result.pop("reason").endswith(" UTC, and no bar has changed since")
    assert second.result == first.result


def test_new_bars_make_an_analysis_out_of_date():
    run(request(stored()))
    job = run(request(stored(until=LAST + timedelta(days=3))))
    assert job.outcome == "updated"
    assert [one.data_as_of for one in Analysis.objects.all()] == [LAST + timedelta(days=3), LAST]


def test_a_fetch_that_changes_nothing_does_not():
    before = stored()
    run(request(before))
    after = stored()
    assert after.bars_changed_at == before.bars_changed_at
    assert run(request(after)).outcome == "unchanged"


def test_an_analysis_is_done_again_after_cache_ttl_or_by_another_rule(configured, monkeypatch):
    stock = stored()
    run(request(stock))
    configured(**{"stock_jobs.analysis.cache_ttl": 0})
    assert run(request(stock)).outcome == "updated"
    configured(**{"stock_jobs.analysis.cache_ttl": 6})
    assert run(request(stock)).outcome == "unchanged"
    monkeypatch.setattr("market.jobs.technical.VERSION", "technical/3")
    assert run(request(stock)).outcome == "updated"


def test_six_hours_are_not_over_before_they_are_over():
    stock = stored()
    run(request(stock))
    Analysis.objects.update(created_at=timezone.now() - timedelta(hours=5, minutes=59))
    assert run(request(stock)).outcome == "unchanged"
    Analysis.objects.update(created_at=timezone.now() - timedelta(hours=6))
    assert run(request(stock)).outcome == "updated"


# History first


def test_a_stock_with_too_few_bars_gets_its_history_first(yahoo):
    yahoo.serve("AAPL", days=600)
    stock = stored(days=30, until=LAST_SESSION)
    job = run(request(stock))
    assert (job.status, job.retries, job.error) == ("pending", 0, "")
    (history,) = history_jobs()
    assert (job.waiting_for, job.waits_for) == ("the history of AAPL", history.pk)
    assert job.run_at is not None
    assert timedelta(minutes=59) < job.run_at - timezone.now() < timedelta(minutes=61)
    assert (history.queue, history.trigger, history.parameters["days"]) == (
        *("background_fetch", "background_analysis"),
        736,
    )
    assert run(job).status == "pending"
    assert list(job.events.filter(event="progress").values_list("payload__waiting_for", flat=True)) == [
        "the history of AAPL"
    ]
    assert run(history).outcome == "updated"
    job.refresh_from_db()
    assert job.waits_for is None
    done = run(job)
    assert done.result is not None
    assert (done.status, done.outcome, done.retries) == ("completed", "updated", 0)
    assert done.result["bars"] > 500
    assert len(history_jobs()) == 1


def test_a_stock_that_was_never_fetched_is_fetched_and_analysed(yahoo):
    yahoo.serve("AAPL", days=600)
    job = run(request(Stock.objects.create(symbol="AAPL")))
    assert run(history_jobs()[0]).outcome == "updated"
    assert run(job).outcome == "updated"


def test_a_young_stock_is_analysed_as_far_as_possible_and_not_asked_for_again(yahoo, configured):
    yahoo.serve("AAPL", days=60)
    job = run(request(Stock.objects.create(symbol="AAPL")))
    run(history_jobs()[0])
    done = run(job)
    assert done.result is not None
    assert (done.outcome, done.result["bars"]) == ("partial", 60)
    assert set(done.result["lacking"]) == {name for name, needed in NEEDED.items() if needed > 60}
    assert (done.result["recommendation"], done.result["confidence"]) == ("", 0.0)
    assert done.result["reason"].startswith(("there are no bars before 20", "no source has more bars since 20"))
    configured(**{"stock_jobs.analysis.cache_ttl": 0})
    assert run(request(Stock.objects.get())).outcome == "partial"
    assert len(history_jobs()) == 1


def test_the_start_of_a_history_that_is_whole_is_the_answer_without_a_fetch():
    stock = stored(days=3, until=LAST_SESSION)
    days = [timezone.now().date() - timedelta(days=number) for number in range(40)]
    PriceBar.objects.bulk_create((PriceBar(stock=stock, date=day, close=1.0) for day in days), ignore_conflicts=True)
    Stock.objects.update(history_starts=days[-1])
    job = run(request(stock))
    assert job.result is not None
    assert (job.outcome, job.result["reason"]) == ("partial", f"there are no bars before {days[-1]}")
    assert history_jobs() == []


def test_an_analysis_goes_on_without_a_history_that_takes_more_than_an_hour():
    job = run(request(stored(days=30)))
    Job.objects.filter(job_type=Job.Type.STOCK_FETCH).update(created_at=timezone.now() - timedelta(minutes=61))
    done = run(job)
    assert done.result is not None
    assert (done.outcome, done.retries) == ("partial", 0)
    assert done.result["reason"].startswith("the fetch of its history has been active since ")


def test_a_history_that_cannot_be_fetched_is_told_with_what_is_possible(yahoo):
    job = run(request(stored(days=30)))
    (history,) = history_jobs()
    run(history)  # Yahoo does not know it
    done = run(job)
    assert done.result is not None
    assert done.outcome == "partial"
    assert done.result["reason"] == "its history could not be fetched: Yahoo Finance has no data for AAPL"


def test_an_analysis_does_not_wait_for_a_history_that_was_cancelled():
    job = run(request(stored(days=30)))
    cancel([history_jobs()[0].pk], by="an operator")
    sweep()
    job.refresh_from_db()
    assert (job.run_at, job.waits_for) == (None, None)


def test_a_fetch_that_failed_before_is_tried_again(yahoo):
    stock = stored(days=30)
    first_day = timezone.now().date() - timedelta(days=800)
    failed = request_fetches([stock], Job.Trigger.USER_REQUEST, start=first_day).jobs[0]
    assert run(failed).status == "failed"
    assert run(request(stock)).status == "pending"
    assert len(history_jobs()) == 2


def test_bars_that_a_source_has_adjusted_since_are_replaced_first(yahoo):
    yahoo.serve("AAPL", days=600)
    stock = stored(days=300, until=LAST_SESSION)
    Stock.objects.update(is_outdated=True)
    job = run(request(stock))
    assert (job.status, job.waiting_for) == ("pending", "the history of AAPL")
    (replacing,) = history_jobs()
    assert replacing.parameters["mode"] == "replace"
    assert run(replacing).status == "completed"
    assert run(job).outcome == "updated"
    assert not Stock.objects.get().is_outdated


def test_bars_that_cannot_be_replaced_are_not_analysed(yahoo):
    stock = stored(days=300)
    Stock.objects.update(is_outdated=True)
    job = run(request(stock))
    assert run(history_jobs()[0]).status == "failed"
    why = "Yahoo Finance has no data for AAPL"
    assert run(job).error == f"the source has adjusted older bars of AAPL, which have not been fetched again: {why}"
    assert not Analysis.objects.exists()


# What cannot be analysed


@pytest.mark.parametrize("status", ["unknown", "delisted"])
def test_a_parked_stock_is_not_analysed(status):
    stock = stored()
    Stock.objects.update(status=status)
    assert run(request(stock)).error == f"AAPL is parked as {status}; a manual fetch that finds bars reactivates it"


def test_a_stock_that_is_not_known_here_is_not_analysed():
    job = request(Stock(symbol="AAPL"))
    assert run(job).error == "unknown stock AAPL; fetch it first"


def test_a_symbol_that_no_source_knows_has_nothing_to_analyse(yahoo):
    job = run(request(Stock.objects.create(symbol="ZZTOP")))
    run(history_jobs()[0])
    done = run(job)
    assert (done.status, done.error) == (
        "failed",
        "no prices of ZZTOP are stored: its history could not be fetched: Yahoo Finance has no data for ZZTOP",
    )


@pytest.mark.parametrize(
    ("types", "error"),
    [
        (["news"], "parameters.analysis_types: stock_analysis jobs do not support news"),
        (["gossip"], "parameters.analysis_types.0: 'gossip': Input should be 'technical', "),
        ([], "parameters.analysis_types: []: List should have at least 1 item"),
        (
            ["technical", "sentiment"],
            "parameters.analysis_types: ['technical', 'sentiment']: List should have at most",
        ),
    ],
)
def test_a_type_that_is_not_done_is_named(types, error):
    job = request(stored())
    Job.objects.update(parameters=job.parameters | {"analysis_types": types})
    assert run(job).error.startswith(error)


def test_an_analysis_takes_few_queries():
    job = request(stored())
    lifecycle.mark_queued([job.pk])
    with CaptureQueriesContext(connection) as queries:
        run_job(job.pk, "worker")
    assert len([one for one in queries.captured_queries if "SAVEPOINT" not in one["sql"]]) <= 12


# The command


def test_analyse_stock_queues_an_analysis_each():
    said = call("analyse_stock", "aapl", "BRK-B", "--trigger", "background_analysis")
    assert [line.split(":")[0] for line in said.splitlines()] == ["new  AAPL", "new  BRK-B"]
    assert {job.trigger for job in Job.objects.all()} == {"background_analysis"}


def test_analyse_stock_refuses_what_is_not_a_symbol():
    assert refused("analyse_stock", "no such").returncode == 2


@pytest.mark.django_db(transaction=True)
def test_analyse_stock_waits_for_history_and_analysis_without_a_broker(
    yahoo, direct_processing, monkeypatch, configure
):
    monkeypatch.setattr("tasks.delivery.direct.SWEEP_EVERY", 0.5)
    configure(**{"queue.backend": "direct"})
    yahoo.serve("AAPL", days=600)
    said = call("analyse_stock", "AAPL", "--wait", "--json", "--timeout", "60")
    (job,) = json.loads(said[said.index("[") : said.rindex("]") + 1])
    assert (job["status"], job["outcome"]) == ("completed", "updated")
    assert job["result"]["recommendation"] in ("BUY", "HOLD", "SELL")


# Imports

LOGIN = """
import sys, django
django.setup()
from django.conf import settings
settings.ALLOWED_HOSTS = ["testserver"]
from django.test import Client
from django.core.management import call_command
from tasks.delivery import direct
direct.configure(None, None)  # a process that fetches imports pandas
call_command("migrate", verbosity=0)
call_command("loaddata", "demo", verbosity=0)
from market.models import Stock
answer = Client().post("/accounts/login/", {"username": "demo", "password": "demo"})
assert answer.status_code == 302, answer.status_code
from tasks.models import Job
from market.jobs.requests import request_analyses
assert Job.objects.filter(trigger="user_login").exists()
kinds = ["technical", "sentiment"]
request_analyses(list(Stock.objects.all()), Job.Trigger.BACKGROUND_ANALYSIS, analysis_types=kinds)
heavy = {"pandas", "ta", "numpy", "yfinance", "exchange_calendars", "openai", "vaderSentiment"}
print(sorted(heavy & set(sys.modules)))
"""


def test_neither_a_start_nor_a_login_nor_a_request_imports_what_only_workers_need(tmp_path):
    environment = {
        "STOCKQUEUE_VAR": str(tmp_path),
        "DATABASE_URL": f"sqlite:///{tmp_path / 'db.sqlite3'}",
        "DJANGO_SETTINGS_MODULE": "stockqueue.settings",
        "CELERY_BROKER_URL": "redis://127.0.0.1:9",
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        "STOCKQUEUE_CONFIG": str(ROOT / "job_processor.yml"),
    }
    done = subprocess.run(
        [sys.executable, "-c", LOGIN], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
