"""The work of sentiment analyses: headlines of a stock become an analysis, by the LLM where one may be asked."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any

from django.conf import settings

from market.freshness import Freshness
from market.llm.reply import LlmError
from market.models import Analysis, NewsItem, Stock
from market.news import refresh_news
from market.news_sentiment import RECENT, analyse_by_llm, analyse_by_rule, recent_news, version_wanted
from market.sources.base import SourceBusy, SourceError
from market.sources.budget import spending
from tasks.analyses import find_stock, last_analysis, result_of, unchanged
from tasks.models import Job
from tasks.retries import retries_left
from tasks.work import Done, Store, WorkFailed, WorkPostponed


def analyse_sentiment(job: Job, now: datetime) -> Store | Done:
    """Analyse a stock's newest headlines, unless that was done lately, in the way in which it would be done now."""
    stock, wanted = find_stock(job.symbol), version_wanted(settings.LLM)
    last = last_analysis(stock, Analysis.Kind.SENTIMENT, now)
    if last is not None and holds(last, stock):
        return unchanged(last, "and news are not looked at more often", **_details(last))
    problem = _refresh(job, stock, now)
    news = recent_news(stock, now)
    if not news and problem:
        raise WorkFailed(f"no news of {stock.symbol} are stored, and none could be fetched: {problem}")
    return partial(_store, _analyse(stock, news, wanted, problem, now))


def holds(last: Analysis, _stock: Stock) -> bool:
    """Whether an analysis is by what would be asked now; news themselves are not looked at more often."""
    return bool(last.values.get("wanted") == version_wanted(settings.LLM))


def _refresh(job: Job, stock: Stock, now: datetime) -> str:
    """Fetch the newest headlines; why that failed for good, or empty. What may pass is tried again first."""
    try:
        with spending(background=job.queue != Job.Queue.FOREGROUND):
            refresh_news(stock, now)
    except SourceBusy as busy:
        raise WorkPostponed(str(busy), busy.until) from busy
    except SourceError as error:
        if error.passes and retries_left(job):
            raise WorkFailed(str(error), passes=True) from error
        return str(error)
    return ""


def _analyse(stock: Stock, news: Sequence[NewsItem], wanted: str, problem: str, now: datetime) -> Analysis:
    if not news:
        return analyse_by_rule(stock, news, wanted, fallback=f"no news of the last {RECENT.days} days")
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
    """Why an LLM would judge what is not true any more; empty where it would not."""
    if problem:
        return f"the headlines are stale: {problem}"
    if Freshness.of([stock], now).is_stale(stock):
        checked = "never" if stock.checked_at is None else f"last at {stock.checked_at:%Y-%m-%d %H:%M} UTC"
        return f"what is known of {stock.symbol} is stale: it was checked {checked}"
    return ""


def _store(analysis: Analysis) -> Done:
    analysis.save()
    reason = analysis.values["fallback"] or ""
    return Done(
        Job.Outcome.PARTIAL if reason else Job.Outcome.UPDATED, result_of(analysis, reason, **_details(analysis))
    )


def _details(analysis: Analysis) -> dict[str, Any]:
    return {
        "headlines": len(analysis.values["headlines"]),
        "score": analysis.values["score"],
        "tokens": analysis.tokens,
    }
