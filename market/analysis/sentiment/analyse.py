"""The sentiment analysis of a stock: a fixed rule or the LLM turns its newest headlines into a recommendation."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from market.analysis.sentiment.llm import VERSION as LLM_VERSION
from market.analysis.sentiment.llm import question_about
from market.analysis.sentiment.vader import VERSION as RULE_VERSION
from market.analysis.sentiment.vader import recommend_by_headlines, score_of
from market.llm import ask, cost_of
from market.llm.reply import Usage
from market.models import Analysis, NewsItem, Stock
from market.recommendation import Contribution
from stockqueue.config.llm_address import LlmServer


def version_wanted(server: LlmServer | None) -> str:
    """The version of an analysis by the preferred method: the LLM if configured, or else the fixed rule."""
    return RULE_VERSION if server is None else f"{LLM_VERSION} {server.model}"[:100]


def analyse_by_rule(
    stock: Stock, news: Sequence[NewsItem], wanted: str, *, fallback: str = "", usage: Usage | None = None
) -> Analysis:
    """Analyse headlines by vaderSentiment, without saving; without headlines, recommend nothing.

    `fallback` says why the rule replaces the LLM; `usage` holds the tokens of a useless LLM answer.
    """
    analysis = _analysis(stock, news, version=RULE_VERSION, usage=usage)
    analysis.values |= {"wanted": wanted, "fallback": fallback or None}
    if news:
        found = recommend_by_headlines([(item.title, item.sentiment) for item in news])
        analysis.values |= {"score": score_of([item.sentiment for item in news])}
        analysis.recommendation, analysis.confidence = found.action or "", found.confidence
        analysis.contributions = [one._asdict() for one in found.contributions]
    return analysis


def analyse_by_llm(stock: Stock, news: Sequence[NewsItem], server: LlmServer, now: datetime) -> Analysis:
    """Analyse headlines (at least one) by the LLM, without saving. Raises LlmError."""
    opinion, usage = ask(server, question_about(stock.symbol, news, now))
    wanted = version_wanted(server)
    analysis = _analysis(stock, news, version=wanted, usage=usage, used=opinion.headlines)
    analysis.values |= {"wanted": wanted, "score": opinion.score, "rationale": opinion.rationale}
    analysis.recommendation, analysis.confidence = opinion.recommendation, opinion.confidence
    analysis.contributions = [
        Contribution("llm", opinion.score, opinion.score, 1.0, opinion.rationale)._asdict(),
    ]
    return analysis


def _analysis(
    stock: Stock,
    news: Sequence[NewsItem],
    *,
    version: str,
    usage: Usage | None,
    used: Sequence[int] | None = None,
) -> Analysis:
    """An analysis with the fields common to both methods.

    `used` holds the positions of the headlines that decided; None means all of them.
    """
    headlines: list[dict[str, Any]] = [
        {
            "id": item.pk,
            "title": item.title,
            "sentiment": item.sentiment,
            "used": used is None or place in used,
        }
        for place, item in enumerate(news)
    ]
    return Analysis(
        stock=stock,
        kind=Analysis.Kind.SENTIMENT,
        data_as_of=news[0].published_at.date() if news else None,
        values={"score": None, "rationale": None, "fallback": None, "headlines": headlines},
        version=version,
        tokens=None if usage is None else usage.tokens,
        cost=cost_of(usage),
    )
