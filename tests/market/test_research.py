"""Research jobs: a snapshot of what a company reports, and its newest headlines."""

from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from market.jobs.requests import request_analyses, request_fetches
from market.models import Analysis, SourceUse, Stock
from market.sources import configured_sources
from mqtt_bridge.payloads import for_topic, lifecycle_payload
from mqtt_bridge.topics import lifecycle_targets
from portfolio.fetching import fetch_stale_holdings
from tasks.describe import describe_end
from tasks.groups import group_jobs
from tasks.models import Job
from tests.contracts.test_commands import call
from tests.support import asyncapi
from tests.support.jobs import result_of, run_once
from tests.support.prices import stored
from tests.support.standins.yahoo import CRUMB_PATH, NEWS, SUMMARY
from tests.support.standins.yahoo_news import article
from tests.support.standins.yahoo_summary import summary, summary_of_an_index

pytestmark = pytest.mark.django_db

Kind = Analysis.Kind
TODAY = timezone.now().date()


@pytest.fixture
def stock(yahoo) -> Stock:
    yahoo.serve_fundamentals("AAPL")
    return Stock.objects.create(symbol="AAPL", exchange="CCC", source="yahoo_finance", checked_at=timezone.now())


def request(stock: Stock, kind: Analysis.Kind = Kind.FUNDAMENTAL) -> Job:
    return request_analyses([stock], Job.Trigger.BACKGROUND_ANALYSIS, analysis_types=[kind]).jobs[0]


# Fundamentals


def test_a_snapshot_of_fundamentals_is_kept_with_what_they_speak_for(stock):
    job = run_once(request(stock))
    found = Analysis.objects.get()
    assert (job.job_type, job.subtype, job.queue) == ("stock_research", "fundamental", "background_analysis")
    assert (job.status, job.outcome) == ("completed", "updated"), job.error
    assert (found.kind, found.version, found.data_as_of) == ("fundamental", "fundamental/2", TODAY)
    assert found.values["trailing_pe"] == 12.5
    assert found.values["debt_to_equity"] == 0.6
    assert found.values["most_recent_quarter"] == "2026-09-30"
    assert found.recommendation == "BUY"
    assert {one["name"] for one in found.contributions} >= {"earnings_yield", "profit_margin", "debt_to_equity"}
    assert result_of(job) | {"confidence": None} == {
        "symbol": "AAPL",
        "analysis_types": ["fundamental"],
        "recommendation": "BUY",
        "confidence": None,
        "data_as_of": str(TODAY),
        "version": "fundamental/2",
        "values": len(found.values),
    }


def test_a_young_snapshot_is_not_taken_again_and_an_old_one_is(stock, yahoo):
    run_once(request(stock))
    asked = len(yahoo.server.summary_requests())
    again = run_once(request(stock))
    assert (again.outcome, Analysis.objects.count()) == ("unchanged", 1)
    assert "fundamentals are not fetched again within cache_ttl" in result_of(again)["reason"]
    assert len(yahoo.server.summary_requests()) == asked
    Analysis.objects.update(created_at=timezone.now() - timedelta(hours=7))
    yahoo.serve_fundamentals("AAPL", summary(trailingPE=40.0))
    assert run_once(request(stock)).outcome == "updated"
    assert [found.values["trailing_pe"] for found in Analysis.objects.all()] == [40.0, 12.5]


def test_a_snapshot_by_another_rule_is_taken_again(stock):
    run_once(request(stock))
    Analysis.objects.update(version="fundamental/0")
    assert run_once(request(stock)).outcome == "updated"


@pytest.mark.parametrize("known", [None, summary_of_an_index()])
def test_that_there_are_no_fundamentals_is_an_answer_and_is_not_asked_for_again(known, yahoo):
    rate = Stock.objects.create(symbol="EURUSD=X")
    if known is not None:
        yahoo.serve_fundamentals("EURUSD=X", known)
    job = run_once(request(rate))
    found = Analysis.objects.get()
    assert (job.status, job.outcome) == ("completed", "partial"), job.error
    assert result_of(job)["reason"] == "Yahoo Finance has no fundamentals of EURUSD=X"
    assert (found.values, found.recommendation, found.confidence) == ({}, "", None)
    asked = len(yahoo.server.summary_requests())
    assert run_once(request(rate)).outcome == "unchanged"
    assert len(yahoo.server.summary_requests()) == asked
    rate.refresh_from_db()
    assert (rate.status, rate.misses) == ("active", 0)


def test_where_no_source_has_fundamentals_that_is_an_answer_too(stock, configured):
    configured(**{"stock_jobs.data_fetch.sources": ["sample"]})
    configured_sources.cache_clear()
    job = run_once(request(stock))
    assert (job.status, job.outcome) == ("completed", "partial"), job.error
    assert result_of(job)["reason"].startswith("No source of stock_jobs.data_fetch.sources has")


def test_of_what_the_rule_knows_nothing_it_recommends_nothing(stock, yahoo, page):
    yahoo.serve_fundamentals("AAPL", {"summaryDetail": {"marketCap": 2_000_000_000_000, "currency": "USD"}})
    job = run_once(request(stock))
    found = Analysis.objects.get()
    assert (job.outcome, result_of(job)["recommendation"]) == ("partial", "")
    assert result_of(job)["reason"] == "too few of the signals are known for a recommendation"
    assert (found.recommendation, found.confidence, found.contributions) == ("", None, [])
    shown = page()
    assert "No recommendation: too few of the signals are known." in shown
    assert "2.0 trillion" in shown


@pytest.mark.parametrize(
    "how", ["server_error", "timeout", "drop", "cut", "html", "malformed", "null_body", "nested", "bomb"]
)
def test_what_may_pass_is_tried_again_and_then_fails_with_its_reason(how, stock, yahoo, configured):
    configured(**{"jobs.max_retries": 1, "integration.apis.yahoo_finance.timeout": 1})
    configured_sources.cache_clear()
    yahoo.misbehave(how, SUMMARY)
    job = run_once(request(stock))
    assert (job.status, job.retries) == ("pending", 1)
    job = run_once(job)
    assert job.status == "failed"
    assert job.error.startswith("Yahoo Finance ")
    assert not Analysis.objects.exists()


def test_research_waits_for_the_sources_budget_without_using_up_a_retry(stock, yahoo, configured):
    yahoo.misbehave("rate_limited", SUMMARY, retry_after=120, times=1)
    first = run_once(request(stock))
    assert (first.status, first.retries) == ("pending", 1)
    second = run_once(first)
    assert (second.status, second.retries) == ("pending", 1)
    assert second.waiting_for == "the end of Yahoo Finance's pause"


def test_research_waits_for_a_refused_crumb_and_fetches_do_not(stock, yahoo, without_crumb):
    yahoo.serve("AAPL")
    yahoo.misbehave("rate_limited", CRUMB_PATH)
    job = run_once(request(stock))
    assert (job.status, job.retries) == ("pending", 0)
    assert job.waiting_for == "a crumb of Yahoo Finance"
    assert job.run_at is not None
    assert job.run_at > timezone.now() + timedelta(seconds=50)
    (fetch,) = request_fetches([stock], Job.Trigger.USER_REQUEST).created
    assert run_once(fetch).outcome == "updated"


def test_research_takes_of_the_share_for_the_background(stock, yahoo, configured):
    configured(**{"stock_jobs.data_fetch.rate_limit": 10, "stock_jobs.data_fetch.background_share": 0.5})
    SourceUse.objects.create(source="yahoo_finance", granted_at=timezone.now(), requests=5)
    job = run_once(request(stock))
    assert (job.status, job.retries) == ("pending", 0)
    assert job.waiting_for == "Yahoo Finance's rate limit"


# News


def test_news_are_kept_once_and_what_is_new_is_counted(stock, yahoo):
    first, second = article("Apple opens a shop", hours=2), article("Apple closes a shop", hours=1)
    yahoo.serve_news("AAPL", first)
    assert result_of(run_once(request(stock, Kind.NEWS)))["new"] == 1
    Analysis.objects.update(created_at=timezone.now() - timedelta(hours=7))
    yahoo.serve_news("AAPL", second, first)
    job = run_once(request(stock, Kind.NEWS))
    assert (job.job_type, job.subtype, job.outcome) == ("stock_research", "news", "updated")
    assert {name: result_of(job)[name] for name in ("headlines", "new", "recommendation")} == {
        "headlines": 2,
        "new": 1,
        "recommendation": "",
    }
    found = Analysis.objects.all()[0]
    assert [headline["title"] for headline in found.values["headlines"]] == [
        "Apple closes a shop",
        "Apple opens a shop",
    ]
    assert list(stock.news.values_list("pk", flat=True)) == [headline["id"] for headline in found.values["headlines"]]


def test_young_news_are_not_fetched_again(stock, yahoo):
    yahoo.serve_news("AAPL", article("Apple opens a shop"))
    run_once(request(stock, Kind.NEWS))
    asked = len(yahoo.server.news_requests())
    assert run_once(request(stock, Kind.NEWS)).outcome == "unchanged"
    assert len(yahoo.server.news_requests()) == asked


def test_no_news_are_an_answer(stock):
    job = run_once(request(stock, Kind.NEWS))
    assert (job.status, result_of(job)["headlines"]) == ("completed", 0)
    assert Analysis.objects.get().data_as_of is None


def test_where_no_source_has_news_that_is_an_answer_too(stock, configured):
    configured(**{"stock_jobs.data_fetch.sources": ["sample"]})
    configured_sources.cache_clear()
    for kind in (Kind.NEWS, Kind.SENTIMENT):
        job = run_once(request(stock, kind))
        assert (job.status, job.outcome) == ("completed", "partial"), job.error
        assert result_of(job)["reason"] == "No source of stock_jobs.data_fetch.sources has news"
        assert run_once(request(stock, kind)).outcome == "unchanged"


def test_news_that_cannot_be_read_fail_the_job(stock, yahoo, configured):
    configured(**{"jobs.max_retries": 0})
    yahoo.misbehave("malformed", NEWS)
    job = run_once(request(stock, Kind.NEWS))
    assert (job.status, job.error) == ("failed", "Yahoo Finance sent an answer without news")


# What both have in common


@pytest.mark.parametrize("kind", [Kind.FUNDAMENTAL, Kind.NEWS])
def test_a_parked_stock_is_not_researched(kind, stock):
    Stock.objects.update(status="delisted")
    assert run_once(request(stock, kind)).error.startswith("AAPL is parked as delisted")


def test_a_research_job_does_no_analysis(stock):
    job = request(stock)
    Job.objects.update(parameters=job.parameters | {"analysis_types": ["technical"]})
    assert run_once(job).error == "parameters.analysis_types: stock_research jobs do not support technical"


def test_a_second_request_joins_the_first_and_each_kind_has_a_job_of_its_own(stock):
    first = request(stock)
    again = request_analyses([stock], Job.Trigger.USER_REQUEST, analysis_types=[Kind.FUNDAMENTAL, Kind.NEWS])
    assert again.joined == [first]
    assert [job.subtype for job in again.created] == ["news"]


@pytest.mark.parametrize("kind", list(Kind))
def test_the_end_of_each_kind_is_told_on_its_topic_as_the_asyncapi_document_says(kind, stock, yahoo):
    stored()
    yahoo.serve_news("AAPL", article("Apple opens a shop"))
    job = run_once(request(stock, kind))
    event = job.events.get(event="completed")
    payload = lifecycle_payload(event)
    told = {target.template: target.topic for target in lifecycle_targets(event, [])}
    assert told[job.job_type] == f"stock/{job.job_type.removeprefix('stock_')}/AAPL"
    for template, topic in told.items():
        asyncapi.check(topic, for_topic(payload, template))
    assert (payload["subtype"], payload["result"]["analysis_types"]) == (kind, [kind])


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (Kind.FUNDAMENTAL, f"updated: BUY, confidence 0.35, of 29 values of {TODAY}"),
        (Kind.NEWS, "updated: 1 headline of the last days, 1 new"),
        (Kind.SENTIMENT, "updated: BUY, confidence 0.13, of 1 headline until {published:%Y-%m-%d}"),
        (Kind.TECHNICAL, "unchanged: "),
    ],
)
def test_the_admin_tells_what_came_of_a_job_of_each_kind(kind, told, stock, yahoo, admin_client, admin_user):
    award = article("Apple wins a great award")
    told = told.format(published=datetime.fromisoformat(award["content"]["pubDate"]))
    yahoo.serve_news("AAPL", award)
    if kind == Kind.TECHNICAL:
        run_once(request(stored(), kind))
    requested = request_analyses([stock], Job.Trigger.USER_REQUEST, admin_user, analysis_types=[kind])
    job = run_once(requested.jobs[0])
    group = group_jobs("Analysis of AAPL", requested, admin_user)
    assert describe_end(job).startswith(told)
    for page in (f"job/{job.pk}", f"jobgroup/{group.pk}"):
        shown = admin_client.get(f"/admin/tasks/{page}/change/").content.decode()
        assert told.partition(": ")[2] in shown
    assert admin_client.get("/admin/tasks/job/").status_code == 200


def test_a_login_is_followed_by_research_of_fresh_stocks_once(user, hold, stock, configured):
    configured(**{"stock_jobs.analysis.at_login": ["fundamental"]})
    hold(user, "AAPL")
    fetch_stale_holdings(user)
    job = Job.objects.get()
    assert (job.job_type, job.trigger, job.queue) == ("stock_research", "background_analysis", "background_analysis")
    run_once(job)
    fetch_stale_holdings(user)
    assert Job.objects.count() == 1


def test_analyse_stock_asks_for_research_too(stock):
    call("analyse_stock", "AAPL", "--kind", "fundamental")
    call("analyse_stock", "AAPL", "--kind", "news")
    assert list(Job.objects.order_by("created_at").values_list("job_type", "subtype")) == [
        ("stock_research", "fundamental"),
        ("stock_research", "news"),
    ]


def test_research_takes_few_queries(stock):
    job = request(stock)
    with CaptureQueriesContext(connection) as queries:
        run_once(job)
    assert len(queries) < 40


# The page of the stock


@pytest.fixture
def page(user, client, hold, stock):
    """page(): what the user, who holds it, sees of the stock's fundamentals."""
    client.force_login(user)
    Job.objects.all().delete()
    hold(user, "AAPL")

    def look() -> str:
        shown: str = client.get("/stocks/AAPL/").content.decode()
        return shown.partition('id="fundamentals"')[2].partition("</section>")[0]

    return look


def test_the_page_shows_fundamentals_with_their_reasons_and_their_date(page, stock):
    run_once(request(stock))
    shown = page()
    for text in (
        *("Valuation", "Margins", "Growth in a year", "Debt", "Dividends"),
        *("180.0 billion USD", "12.50", "16.0\xa0%", "+8.0\xa0%", "0.60", "2026-10-12"),
        *("Technology, Consumer Electronics", f"as of {TODAY}, statements until 2026-09-30", "fundamental/2"),
        *("A year&#x27;s earnings are 8.0% of the price", "Not investment advice."),
    ):
        assert text in shown


def test_what_is_not_known_is_shown_so(page, stock, yahoo):
    yahoo.serve_fundamentals("AAPL", summary(trailingPE=..., dividendRate=..., exDividendDate=...))
    run_once(request(stock))
    assert page().count("<dd>unknown</dd>") == 3


def test_amounts_that_may_be_in_either_of_two_currencies_name_none(page, stock, yahoo):
    yahoo.serve_fundamentals("AAPL", summary(currency="GBp", financialCurrency="GBP"))
    run_once(request(stock))
    shown = page()
    assert "<dd>30.0 billion GBP</dd>" in shown
    assert "<dd>180.0 billion</dd>" in shown


def test_a_page_without_fundamentals_says_why(page, stock, yahoo):
    assert "Not analysed yet." in page()
    job = request(stock)
    assert "analysing…" in page()
    yahoo.server.forget("AAPL")
    run_once(job)
    assert "No source has fundamentals of this stock; last requested" in page()


def test_what_a_source_says_is_escaped_on_the_page(page, stock, yahoo):
    yahoo.serve_fundamentals("AAPL", summary(sector="<script>alert(1)</script>", currency="<b>"))
    run_once(request(stock))
    shown = page()
    assert "&lt;script&gt;" in shown
    assert "<script>" not in shown
    assert "<b>" not in shown
