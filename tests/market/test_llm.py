"""Sentiment analyses by an LLM: what is sent, what becomes of a good answer, when it is asked, and what it may use."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from market.analysis.sentiment.llm import INSTRUCTIONS, VERSION, _Answer
from market.llm import client
from market.llm.reply import LlmError, Reply
from market.models import Analysis, LlmDay, Stock
from operations.local.child_processes import wait_until
from stockqueue.config.llm_address import LlmServer
from tasks.models import Job
from tests.contracts.test_commands import run
from tests.support.jobs import result_of, run_once
from tests.support.sentiment_jobs import BAD_TITLES, TOKENS, fell_back
from tests.support.sentiment_jobs import request_sentiment as request
from tests.support.standins.openai_standin import KEY, MODEL, opinion
from tests.support.standins.yahoo import NEWS
from tests.support.standins.yahoo_news import article

pytestmark = pytest.mark.django_db

WORKER_OF_ANALYSES = (
    *("-m", "celery", "-A", "stockqueue", "worker", "-Q", "background_analysis", "-c", "2", "--loglevel", "INFO"),
)


# A good answer


def test_the_llms_opinion_becomes_the_analysis(llm, in_the_news, configured):
    configured(
        **{"integration.apis.openai.prompt_price": 2.5, "integration.apis.openai.completion_price": 10.0},
    )
    llm.say(opinion(headlines=[1], score=0.6, confidence=0.7))
    job = run_once(request(in_the_news))
    found, news = Analysis.objects.get(), list(in_the_news.news.all())
    assert (found.recommendation, found.confidence) == ("BUY", 0.7)
    assert (found.version, found.data_as_of) == (f"{VERSION} {MODEL}", news[0].published_at.date())
    assert found.tokens == TOKENS
    assert found.cost == pytest.approx((400 * 2.5 + 60 * 10) / 1e6)
    assert found.values == {
        "score": 0.6,
        "rationale": "Orders grow faster than expected.",
        "fallback": None,
        "wanted": f"{VERSION} {MODEL}",
        "headlines": [
            {"id": item.pk, "title": item.title, "sentiment": item.sentiment, "used": used}
            for item, used in zip(news, (False, True), strict=True)
        ],
    }
    assert [(one["name"], one["reason"]) for one in found.contributions] == [
        ("llm", "Orders grow faster than expected.")
    ]
    assert (job.status, job.outcome) == ("completed", "updated")
    result = result_of(job)
    assert (result["recommendation"], result["tokens"], result["headlines"]) == ("BUY", TOKENS, 2)
    day = LlmDay.objects.get()
    assert (day.day, day.tokens, day.questions) == (timezone.now().date(), TOKENS, 1)
    assert day.cost == pytest.approx(found.cost)


def test_what_is_sent_is_data_a_schema_and_fixed_instructions(llm, in_the_news):
    run_once(request(in_the_news))
    (asked,) = llm.asked
    assert (asked.path, asked.body["model"], asked.body["max_tokens"]) == ("/v1/chat/completions", MODEL, 1000)
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.headers["accept-encoding"] == "identity"
    assert [message["role"] for message in asked.body["messages"]] == ["system", "user"]
    assert asked.instructions == INSTRUCTIONS
    assert asked.data["symbol"] == "AAPL"
    assert [one["title"] for one in asked.data["headlines"]] == list(BAD_TITLES)
    form = asked.body["response_format"]
    assert (form["type"], form["json_schema"]["strict"]) == ("json_schema", True)
    schema = form["json_schema"]["schema"]
    assert schema["additionalProperties"] is False
    assert schema["required"] == list(schema["properties"]) == list(_Answer.model_fields)
    assert schema["properties"]["symbol"]["enum"] == ["AAPL"]
    assert schema["properties"]["headlines"]["items"]["enum"] == [0, 1]


def test_openai_itself_is_told_the_limit_by_its_new_name(in_the_news, settings, monkeypatch):
    settings.LLM = LlmServer("https://api.openai.com/v1", MODEL, KEY)
    bodies: list[Any] = []

    def ask(_server: LlmServer, body: Any, **_limits: float) -> Reply:
        bodies.append(body)
        raise LlmError("no")

    monkeypatch.setattr(client, "ask", ask)
    run_once(request(in_the_news))
    assert bodies[0]["max_completion_tokens"] == 1000
    assert "max_tokens" not in bodies[0]


def test_without_a_key_none_is_sent(llm, in_the_news, settings, monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY"):
        monkeypatch.setenv(name, "sk-of-somebody-else")
    settings.LLM = LlmServer(llm.url, MODEL, allow_private=True)
    assert run_once(request(in_the_news)).outcome == "updated"
    assert "authorization" not in llm.asked[0].headers


def test_a_proxy_of_the_environment_is_not_used(llm, in_the_news, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert run_once(request(in_the_news)).outcome == "updated"


def test_costs_without_prices_are_not_known_and_tokens_without_usage_are_what_was_set_aside(llm, in_the_news):
    llm.say(opinion(), usage=None)
    run_once(request(in_the_news))
    found = Analysis.objects.get()
    assert (found.version, found.tokens, found.cost) == (f"{VERSION} {MODEL}", None, None)
    assert LlmDay.objects.get().tokens > 1000


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": -1, "completion_tokens": 1},
        {"prompt_tokens": 1e300, "completion_tokens": 1},
        {"prompt_tokens": "many", "completion_tokens": None},
        {},
        [],
        7,
    ],
)
def test_a_usage_that_makes_no_sense_is_as_if_there_were_none(llm, in_the_news, usage):
    llm.say(opinion(), usage=usage)
    assert run_once(request(in_the_news)).outcome == "updated"
    assert Analysis.objects.get().tokens is None
    assert LlmDay.objects.get().tokens > 1000


def test_text_of_the_model_is_cut_and_cleaned(llm, in_the_news):
    llm.say(opinion(rationale="Good\x00 news\n\u202e" + "x" * 5_000))
    run_once(request(in_the_news))
    rationale = Analysis.objects.get().values["rationale"]
    assert rationale.startswith("Good news x")
    assert len(rationale) == 300


@pytest.mark.parametrize(
    ("changes", "action"),
    [
        ({"score": -1, "recommendation": "SELL", "confidence": 1}, "SELL"),
        ({"score": 0, "recommendation": "HOLD", "confidence": 0}, "HOLD"),
        ({"score": 0.4, "recommendation": "HOLD"}, "HOLD"),
        ({"headlines": [1, 0, 1]}, "BUY"),
    ],
)
def test_answers_at_the_edges_of_the_schema_are_taken(llm, in_the_news, changes, action):
    llm.say(opinion(**changes))
    assert run_once(request(in_the_news)).outcome == "updated"
    assert Analysis.objects.get().recommendation == action


# When it is asked, and when not


def test_an_opinion_holds_for_cache_ttl(llm, in_the_news):
    first = run_once(request(in_the_news))
    second = run_once(request(in_the_news))
    assert (second.outcome, len(llm.asked)) == ("unchanged", 1)
    assert result_of(second) | {"reason": None} == result_of(first) | {"reason": None}
    Analysis.objects.update(created_at=timezone.now() - timedelta(hours=6))
    assert run_once(request(in_the_news)).outcome == "updated"


def test_a_fallback_holds_as_well_so_that_a_broken_server_is_left_alone(llm, in_the_news):
    llm.say("prose")
    run_once(request(in_the_news))
    assert run_once(request(in_the_news)).outcome == "unchanged"
    assert len(llm.asked) == 1


def test_another_model_or_an_llm_where_there_was_none_is_asked_at_once(llm, in_the_news, settings):
    server, settings.LLM = settings.LLM, None
    assert result_of(run_once(request(in_the_news)))["version"] == "vader/1"
    settings.LLM = server
    assert result_of(run_once(request(in_the_news)))["version"] == f"{VERSION} {MODEL}"
    settings.LLM = LlmServer(llm.url, "another", KEY, allow_private=True)
    assert result_of(run_once(request(in_the_news)))["version"] == f"{VERSION} another"
    settings.LLM = None
    assert result_of(run_once(request(in_the_news)))["version"] == "vader/1"


def test_without_news_it_is_not_asked(llm, yahoo, in_the_news):
    yahoo.serve_news("AAPL")
    job = run_once(request(in_the_news))
    assert (job.outcome, result_of(job)["reason"], llm.asked) == ("partial", "no news in the last 7 days", [])


@pytest.mark.parametrize("minutes", [31, None])
def test_it_is_not_asked_about_a_stock_whose_data_is_stale(llm, in_the_news, minutes):
    checked_at = None if minutes is None else timezone.now() - timedelta(minutes=minutes)
    Stock.objects.update(checked_at=checked_at)
    job = run_once(request(in_the_news))
    when = "never checked" if checked_at is None else f"last checked at {checked_at:%Y-%m-%d %H:%M} UTC"
    fell_back(job, f"AAPL is stale: {when}")
    assert llm.asked == []


def test_it_is_not_asked_about_headlines_that_could_not_be_refreshed(llm, yahoo, in_the_news, configured):
    configured(**{"stock_jobs.analysis.cache_ttl": 0, "jobs.max_retries": 0})
    run_once(request(in_the_news))
    Analysis.objects.all().delete()
    yahoo.misbehave("malformed", NEWS)
    job = run_once(request(in_the_news))
    fell_back(job, "the headlines are stale: Yahoo Finance sent an answer without news")
    assert len(llm.asked) == 1


# The budget of a day


def test_tokens_that_are_used_up_are_not_spent(llm, in_the_news, configured):
    configured(**{"integration.apis.openai.daily_tokens": 5_000})
    today = timezone.now().date()
    LlmDay.objects.create(day=today, tokens=4_900)
    job = run_once(request(in_the_news))
    assert result_of(job)["reason"].startswith(
        f"the LLM was not used: 4900 of 5000 tokens of {today} (UTC) are used, and "
    )
    assert (llm.asked, LlmDay.objects.get().tokens) == ([], 4_900)


def test_yesterdays_tokens_are_yesterdays(llm, in_the_news, configured):
    configured(**{"integration.apis.openai.daily_tokens": 5_000})
    LlmDay.objects.create(day=timezone.now().date() - timedelta(days=1), tokens=5_000)
    assert run_once(request(in_the_news)).outcome == "updated"


def test_a_budget_of_nothing_asks_nothing(llm, in_the_news, configured):
    configured(**{"integration.apis.openai.daily_tokens": 0})
    assert "0 of 0 tokens" in result_of(run_once(request(in_the_news)))["reason"]
    assert llm.asked == []


def test_what_is_set_aside_is_enough_for_a_question_in_any_writing(llm, yahoo, in_the_news, configured):
    yahoo.serve_news("AAPL", article("苹" * 300))
    seen: list[int] = []

    def speak(asked: Any) -> str:
        seen.append(len(json.dumps(asked.body, ensure_ascii=False).encode()))
        return opinion()(asked)

    llm.say(speak, usage=None)
    run_once(request(in_the_news))
    assert LlmDay.objects.get().tokens >= 900 + 1_000
    assert LlmDay.objects.get().tokens == pytest.approx(seen[0] + 1_000, abs=50)


# The programs that people start


@pytest.mark.django_db(transaction=True)
def test_the_environment_alone_turns_it_on(llm, yahoo_server, in_the_news, configuration_file):
    fresh = Stock.objects.get()
    environment = {
        "OPENAI_BASE_URL": llm.url,
        "OPENAI_API_KEY": KEY,
        "OPENAI_MODEL": MODEL,
        "OPENAI_ALLOW_PRIVATE_HOST": "1",
        "STOCKQUEUE_CONFIG": str(configuration_file(**{"queue.backend": "direct"})),
        **yahoo_server.environment,
    }
    done = run("analyse_stock", fresh.symbol, "--kind", "sentiment", "--wait", **environment)
    assert done.returncode == 0, done.stderr
    assert f"updated: BUY, confidence 0.70, of 2 headlines until {Analysis.objects.get().data_as_of}" in done.stdout
    assert Analysis.objects.get().version == f"{VERSION} {MODEL}"
    assert KEY not in done.stdout + done.stderr


@pytest.mark.django_db(transaction=True)
def test_a_worker_of_celery_asks_it(llm, yahoo_server, in_the_news, broker, start):
    environment = {
        "CELERY_BROKER_URL": broker.url,
        "OPENAI_BASE_URL": llm.url,
        "OPENAI_MODEL": MODEL,
        "OPENAI_ALLOW_PRIVATE_HOST": "1",
        **yahoo_server.environment,
    }
    job = request(in_the_news)  # a worker that starts sends what its asker could not
    with start(*WORKER_OF_ANALYSES, ready=" ready.", **environment):
        wait_until(
            lambda: not Job.objects.filter(pk=job.pk, status__in=Job.ACTIVE).exists(), "the analysis", timeout=60
        )
    job.refresh_from_db()
    assert (job.status, job.outcome) == ("completed", "updated"), job.error
    assert Analysis.objects.get().version == f"{VERSION} {MODEL}"
