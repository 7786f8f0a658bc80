"""The handler of sentiment analyses: headlines of a stock become an analysis, by the LLM if available."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any

from django.conf import settings

from market.analysis.sentiment.analyse import analyse_by_llm, analyse_by_rule, version_wanted
from market.freshness import Freshness
from market.jobs.analysis_base import find_stock, last_analysis, result_of, unchanged
from market.jobs.sources import ask_source
from market.llm.reply import LlmError
from market.models import Analysis, NewsItem, Stock
from market.news import RECENT, recent_news, refresh_news
from market.sources.base import NotOffered, SourceError
from tasks.models import Job
from tasks.running.handlers import JobError, JobResult, Store


def analyse_sentiment(job: Job, now: datetime) -> Store | JobResult:
    """Analyse a stock's newest headlines, unless a recent analysis by the same method exists."""
    stock, wanted = find_stock(job.symbol), version_wanted(settings.LLM)
    last = last_analysis(stock, Analysis.Kind.SENTIMENT, now)
    if last is not None and holds(last, stock):
        return unchanged(last, "and news is not fetched again within cache_ttl", **_details(last))
    error = _refresh(job, stock, now)
    news = recent_news(stock, now)
    # Store an analysis even if no source has any news: the next login would get the same answer.
    if not news and error is not None and not isinstance(error, NotOffered):
        raise JobError(f"no news of {stock.symbol} is stored, and none could be fetched: {error}")
    return partial(_store, _analyse(stock, news, wanted, str(error or ""), now))


def holds(last: Analysis, _stock: Stock) -> bool:
    """Whether an analysis used the currently preferred method; news are not fetched again within `cache_ttl`."""
    return bool(last.values.get("wanted") == version_wanted(settings.LLM))


def _refresh(job: Job, stock: Stock, now: datetime) -> SourceError | None:
    """Fetch the newest headlines; returns the final error. Errors that may pass lead to another attempt first."""
    try:
        ask_source(job, lambda: refresh_news(stock, now))
    except SourceError as error:
        return error
    return None


def _analyse(stock: Stock, news: Sequence[NewsItem], wanted: str, problem: str, now: datetime) -> Analysis:
    if not news:
        return analyse_by_rule(stock, news, wanted, fallback=problem or f"no news in the last {RECENT.days} days")
    if settings.LLM is None:
        return analyse_by_rule(stock, news, wanted, fallback=problem)
    usage = None
    reason = _why_stale(stock, problem, now)
    if not reason:
        try:
            return analyse_by_llm(stock, news, settings.LLM, now)
        except LlmError as error:
            reason, usage = str(error), error.usage
    return analyse_by_rule(stock, news, wanted, fallback=f"the LLM was not used: {reason}", usage=usage)


def _why_stale(stock: Stock, problem: str, now: datetime) -> str:
    """Why an LLM would judge outdated data; empty for fresh data."""
    if problem:
        return f"the headlines are stale: {problem}"
    if Freshness.of([stock], now).is_stale(stock):
        at = stock.checked_at
        checked = "never checked" if at is None else f"last checked at {at:%Y-%m-%d %H:%M} UTC"
        return f"{stock.symbol} is stale: {checked}"
    return ""


def _store(analysis: Analysis) -> JobResult:
    analysis.save()
    reason = analysis.values["fallback"] or ""
    return JobResult(
        Job.Outcome.PARTIAL if reason else Job.Outcome.UPDATED, result_of(analysis, reason, **_details(analysis))
    )


def _details(analysis: Analysis) -> dict[str, Any]:
    return {
        "headlines": len(analysis.values["headlines"]),
        "score": analysis.values["score"],
        "tokens": analysis.tokens,
    }
