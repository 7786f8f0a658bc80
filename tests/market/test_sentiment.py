"""Sentiment analyses without an LLM: the rule, the job, and what it does where news are old or not to be had."""

from datetime import timedelta

import pytest
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st

from market.analysis.sentiment.vader import DOUBT, THRESHOLD, recommend_by_headlines, score_of, sentiment_of
from market.jobs.requests import request_analyses
from market.models import Analysis, Stock
from market.news import MOST_HEADLINES
from tasks.describe import describe_end
from tasks.models import Job
from tests.contracts.test_commands import call, refused
from tests.support.jobs import result_of, run_once
from tests.support.sentiment_jobs import request_sentiment as request
from tests.support.standins.yahoo import NEWS
from tests.support.standins.yahoo_news import article

pytestmark = pytest.mark.django_db

Kind = Analysis.Kind
GOOD = ("Apple wins a great award", "Happy customers love the best phone", "Strong growth, excellent profits")
BAD = ("Fraud probe: Apple faces terrible losses", "Horrible crash kills hopes", "Worst failure, angry customers")


@pytest.fixture
def stock() -> Stock:
    return Stock.objects.create(symbol="AAPL", exchange="CCC", source="yahoo_finance", checked_at=timezone.now())


# The rule

given_news = settings(deadline=None)  # the machine may be busy
sounds = st.floats(-1, 1, allow_nan=False)
headlines = st.lists(sounds, min_size=1, max_size=30)


def recommend(values):
    return recommend_by_headlines([(str(number), value) for number, value in enumerate(values)])


@given_news
@given(values=headlines)
def test_score_and_confidence_stay_within_their_limits(values):
    found = recommend(values)
    assert -1 <= score_of(values) <= 1
    assert 0 <= found.confidence <= 1


@given_news
@given(values=headlines)
def test_if_all_headlines_said_the_opposite_so_would_the_answer(values):
    one, other = recommend(values), recommend([-value for value in values])
    assert (one.action, other.action) in [("BUY", "SELL"), ("HOLD", "HOLD"), ("SELL", "BUY")]
    assert one.confidence == other.confidence


@given_news
@given(values=headlines, better=st.data())
def test_a_headline_that_sounds_better_never_speaks_for_selling(values, better):
    place = better.draw(st.integers(0, len(values) - 1))
    improved = [*values]
    improved[place] = better.draw(st.floats(values[place], 1))
    order = ["SELL", "HOLD", "BUY"]
    before, after = recommend(values), recommend(improved)
    assert order.index(after.action) >= order.index(before.action)
    if before.action == after.action == "BUY":
        assert after.confidence >= before.confidence


@given_news
@given(values=headlines)
def test_a_headline_that_says_nothing_makes_no_opinion_surer(values):
    before, after = recommend(values), recommend([*values, 0.0])
    if before.action == "HOLD":
        assert after.action == "HOLD"
    elif after.action == before.action:
        assert after.confidence <= before.confidence


@given_news
@given(values=headlines, shuffled=st.data())
def test_the_order_of_headlines_does_not_matter(values, shuffled):
    assert recommend(shuffled.draw(st.permutations(values)))[:2] == recommend(values)[:2]


@given_news
@given(values=headlines)
def test_the_contributions_add_up_to_the_score(values):
    contributions = recommend(values).contributions
    assert sum(one.weight * one.vote for one in contributions) == pytest.approx(score_of(values), abs=1e-12)
    assert sum(one.weight for one in contributions) < 1


@pytest.mark.parametrize(
    ("values", "action", "confidence"),
    [
        ([1.0], "BUY", (1 / 3 - THRESHOLD) / (1 - THRESHOLD)),
        ([-1.0], "SELL", (1 / 3 - THRESHOLD) / (1 - THRESHOLD)),
        ([THRESHOLD * (DOUBT + 2) / 2] * 2, "BUY", 0),
        ([0.0], "HOLD", 1 / 3),
        ([0.0] * 18, "HOLD", 0.9),
        ([1.0] * 18, "BUY", (0.9 - THRESHOLD) / (1 - THRESHOLD)),
    ],
)
def test_the_answer_is_as_documented(values, action, confidence):
    found = recommend(values)
    assert (found.action, found.confidence) == (action, pytest.approx(confidence, abs=1e-4))


def test_words_have_the_scores_of_vader():
    assert all(sentiment_of(title) > 0.4 for title in GOOD)
    assert all(sentiment_of(title) < -0.4 for title in BAD)
    assert sentiment_of("Apple announces an event") == sentiment_of("") == sentiment_of("苹果公司") == 0


@given_news
@given(title=st.text(max_size=300))
def test_any_title_has_a_score(title):
    assert -1 <= sentiment_of(title) <= 1
    assert sentiment_of(title) == sentiment_of(title)


# The job


def test_good_news_become_an_analysis_with_its_reasons(yahoo, stock):
    yahoo.serve_news("AAPL", *(article(title, hours=number + 1) for number, title in enumerate(GOOD)))
    job = run_once(request(stock))
    found, news = Analysis.objects.get(), list(stock.news.all())
    score = score_of([item.sentiment for item in news])
    assert (found.stock, found.kind, found.data_as_of) == (stock, "sentiment", news[0].published_at.date())
    assert (found.recommendation, found.version, found.bars) == ("BUY", "vader/1", None)
    assert (found.tokens, found.cost) == (None, None)
    assert found.values == {
        "score": score,
        "rationale": None,
        "fallback": None,
        "wanted": "vader/1",
        "headlines": [
            {"id": item.pk, "title": item.title, "sentiment": item.sentiment, "used": True} for item in news
        ],
    }
    assert [one["reason"] for one in found.contributions] == list(GOOD)
    assert (job.status, job.outcome) == ("completed", "updated")
    assert job.result == {
        "symbol": "AAPL",
        "analysis_types": ["sentiment"],
        "recommendation": "BUY",
        "confidence": found.confidence,
        "data_as_of": str(found.data_as_of),
        "headlines": 3,
        "score": score,
        "tokens": None,
        "version": "vader/1",
    }
    assert describe_end(job) == (
        f"updated: BUY, confidence {found.confidence:.2f}, of 3 headlines until {found.data_as_of}"
    )


def test_bad_news_speak_for_selling(yahoo, stock):
    yahoo.serve_news("AAPL", *map(article, BAD))
    assert result_of(run_once(request(stock)))["recommendation"] == "SELL"


def test_a_sentiment_job_runs_in_the_background_and_says_what_it_is(stock):
    job = request(stock, Job.Trigger.BACKGROUND_ANALYSIS)
    assert (job.job_type, job.subtype, job.queue) == ("stock_analysis", "sentiment", "background_analysis")
    assert job.parameters == {
        "symbol": "AAPL",
        "analysis_types": ["sentiment"],
        "triggered_by": "background_analysis",
    }


def test_without_news_there_is_no_recommendation_and_that_is_said(yahoo, stock):
    job = run_once(request(stock))
    found = Analysis.objects.get()
    assert (found.recommendation, found.confidence, found.data_as_of) == ("", None, None)
    assert (found.values["score"], found.values["headlines"], found.contributions) == (None, [], [])
    assert job.outcome == "partial"
    assert job.result == {
        "symbol": "AAPL",
        "analysis_types": ["sentiment"],
        "recommendation": "",
        "confidence": 0.0,
        "data_as_of": None,
        "headlines": 0,
        "score": None,
        "tokens": None,
        "version": "vader/1",
        "reason": "no news in the last 7 days",
    }
    assert describe_end(job) == "partial: no news in the last 7 days"


def test_old_news_do_not_count_and_neither_do_more_than_the_newest(yahoo, stock):
    old = article(BAD[0], hours=8 * 24)
    recent = [article(f"{GOOD[0]} {n}", hours=n + 1) for n in range(MOST_HEADLINES + 5)]
    yahoo.serve_news("AAPL", old, *recent)
    run_once(request(stock))
    titles = [one["title"] for one in Analysis.objects.get().values["headlines"]]
    assert titles == [f"{GOOD[0]} {n}" for n in range(MOST_HEADLINES)]


def test_news_of_earlier_fetches_count_as_well(yahoo, stock, configured):
    configured(**{"stock_jobs.analysis.cache_ttl": 0})
    yahoo.serve_news("AAPL", article(GOOD[0], hours=30))
    run_once(request(stock))
    yahoo.serve_news("AAPL", article(GOOD[1]))
    assert result_of(run_once(request(stock)))["headlines"] == 2


# What was done already


def test_a_second_analysis_asks_nobody_and_repeats_the_answer(yahoo, stock):
    yahoo.serve_news("AAPL", *map(article, GOOD))
    first = run_once(request(stock))
    asked = len(yahoo.server.news_requests())
    second = run_once(request(stock))
    assert (second.outcome, Analysis.objects.count()) == ("unchanged", 1)
    told = result_of(second)
    assert told.pop("reason").endswith(" UTC, and news is not fetched again within cache_ttl")
    assert told == result_of(first)
    assert len(yahoo.server.news_requests()) == asked


def test_an_answer_without_news_holds_as_well(yahoo, stock):
    run_once(request(stock))
    again = run_once(request(stock))
    told = result_of(again)
    assert (again.outcome, told["recommendation"], told["confidence"]) == ("unchanged", "", 0.0)


def test_after_cache_ttl_it_is_done_again(yahoo, stock):
    run_once(request(stock))
    Analysis.objects.update(created_at=timezone.now() - timedelta(hours=5, minutes=59))
    assert run_once(request(stock)).outcome == "unchanged"
    Analysis.objects.update(created_at=timezone.now() - timedelta(hours=6))
    assert run_once(request(stock)).outcome == "partial"


def test_a_technical_analysis_is_none_of_the_news(yahoo, stock):
    Analysis.objects.create(stock=stock, kind=Kind.TECHNICAL, version="technical/2")
    assert run_once(request(stock)).outcome == "partial"


# When there is nothing to be had


def test_a_stock_that_is_not_known_or_parked_is_not_analysed(stock):
    assert run_once(request(Stock(symbol="MSFT"))).error == "unknown stock MSFT; fetch it first"
    Stock.objects.update(status="delisted")
    assert run_once(request(stock)).error.startswith("AAPL is parked as delisted")


def test_while_the_source_wants_to_be_left_alone_the_job_waits_and_uses_up_no_retry(yahoo, stock):
    yahoo.misbehave("rate_limited", NEWS, retry_after=60)
    job = run_once(request(stock))
    assert (job.status, job.retries, job.error) == (
        "pending",
        1,
        "Yahoo Finance refused news: too many requests (429)",
    )
    job = run_once(job)
    assert (job.status, job.retries) == ("pending", 1)
    assert job.waiting_for == "the end of Yahoo Finance's pause"


def test_what_may_pass_is_tried_again_and_then_the_stored_headlines_are_the_answer(yahoo, stock, configured):
    configured(**{"stock_jobs.analysis.cache_ttl": 0, "jobs.max_retries": 1})
    yahoo.serve_news("AAPL", *map(article, GOOD))
    run_once(request(stock))
    yahoo.misbehave("server_error", NEWS)
    job = run_once(request(stock))
    assert (job.status, job.retries) == ("pending", 1)
    job = run_once(job)
    assert (job.status, job.outcome) == ("completed", "partial")
    assert result_of(job)["recommendation"] == "BUY"
    assert result_of(job)["reason"] == "Yahoo Finance answered 503 for news"
    assert describe_end(job).endswith("; Yahoo Finance answered 503 for news")


def test_without_stored_headlines_the_job_fails_with_the_reason(yahoo, stock, configured):
    configured(**{"jobs.max_retries": 0})
    yahoo.misbehave("malformed", NEWS)
    job = run_once(request(stock))
    assert (job.status, job.error) == (
        "failed",
        "no news of AAPL is stored, and none could be fetched: Yahoo Finance sent an answer without news",
    )
    assert not Analysis.objects.exists()


def test_news_come_out_of_the_share_of_background_work(yahoo, configured):
    configured(**{"stock_jobs.data_fetch.rate_limit": 30, "stock_jobs.data_fetch.background_share": 0.1})
    stocks = [Stock.objects.create(symbol=f"T{number}") for number in range(4)]
    job = [run_once(request(stock)) for stock in stocks][-1]
    assert (job.status, job.retries) == ("pending", 0)
    assert job.waiting_for == "Yahoo Finance's rate limit"


# Order and priority


def test_kinds_are_asked_for_in_the_order_of_the_configuration(stock, configured):
    kinds = [Kind.TECHNICAL, Kind.NEWS, Kind.SENTIMENT]
    other = Stock.objects.create(symbol="MSFT")
    jobs = request_analyses([stock, other], Job.Trigger.BACKGROUND_ANALYSIS, analysis_types=kinds).created
    assert [(job.subtype, job.symbol, job.priority) for job in jobs] == [
        *(("sentiment", symbol, 7) for symbol in ("AAPL", "MSFT")),
        *(("technical", symbol, 8) for symbol in ("AAPL", "MSFT")),
        *(("news", symbol, 10) for symbol in ("AAPL", "MSFT")),
    ]
    Job.objects.all().delete()
    configured(**{"stock_jobs.analysis.analysis_priority": ["technical"]})
    jobs = request_analyses([stock], Job.Trigger.BACKGROUND_ANALYSIS, analysis_types=kinds).created
    assert [(job.subtype, job.priority) for job in jobs] == [("technical", 7), ("news", 8), ("sentiment", 8)]


def test_a_kind_stays_within_the_band_of_its_queue(stock):
    for trigger, priorities in ((Job.Trigger.USER_REQUEST, [7, 7, 9]), (Job.Trigger.MAINTENANCE, [9, 10, 10])):
        Job.objects.all().delete()
        jobs = request_analyses([stock], trigger, analysis_types=[Kind.SENTIMENT, Kind.TECHNICAL, Kind.NEWS]).created
        assert [job.priority for job in jobs] == priorities


# The command


def test_analyse_stock_asks_for_the_kind_that_is_named(stock):
    call("analyse_stock", "AAPL", "--kind", "sentiment")
    call("analyse_stock", "AAPL")
    assert list(Job.objects.order_by("created_at").values_list("subtype", flat=True)) == ["sentiment", "technical"]


def test_analyse_stock_names_the_kinds_that_there_are():
    refusal = refused("analyse_stock", "AAPL", "--kind", "gossip")
    assert refusal.returncode == 2
    assert str(refusal) == "--kind gossip is not one of technical, sentiment, fundamental, news"
