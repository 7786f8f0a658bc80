"""The handlers of research jobs: a source's fundamentals and news of a stock become an analysis."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

from market.analysis.fundamental.analyse import analyse_fundamentals
from market.analysis.fundamental.rule import VERSION as FUNDAMENTAL_VERSION
from market.jobs.analysis_base import find_stock, last_analysis, result_of, unchanged
from market.jobs.sources import ask_source
from market.models import Analysis, Stock
from market.news import VERSION as NEWS_VERSION
from market.news import digest, refresh_news
from market.sources import fetch_fundamentals
from market.sources.base import NotOffered, SourceError, SymbolNotFound
from tasks.models import Job
from tasks.running.handlers import JobError, JobResult, Store

NOTHING_TO_JUDGE = "too few of the signals are known for a recommendation"


def research_fundamentals(job: Job, now: datetime) -> Store | JobResult:
    """Take a snapshot of a stock's fundamentals, unless a recent snapshot exists.

    Missing fundamentals are an answer, too, and stored: logins do not request an exchange rate's fundamentals again.
    """
    stock = find_stock(job.symbol)
    last = last_analysis(stock, Analysis.Kind.FUNDAMENTAL, now)
    if last is not None and fundamentals_hold(last, stock):
        return unchanged(last, "and fundamentals are not fetched again within cache_ttl", **_fundamentals_in(last))
    found, reason = None, ""
    try:
        found = ask_source(job, lambda: fetch_fundamentals(stock.symbol))
    except (SymbolNotFound, NotOffered) as nothing:
        reason = str(nothing)
    except SourceError as error:
        raise JobError(str(error)) from error
    analysis = analyse_fundamentals(stock, found, now)
    if not analysis.recommendation:
        reason = reason or NOTHING_TO_JUDGE
    return partial(_store, analysis, reason, _fundamentals_in)


def fundamentals_hold(last: Analysis, _stock: Stock) -> bool:
    """Whether the current rule judged a snapshot; within `cache_ttl` no new snapshot is taken."""
    return last.version == FUNDAMENTAL_VERSION


def _fundamentals_in(analysis: Analysis) -> dict[str, Any]:
    """The number of known values."""
    return {"values": sum(value not in (None, "") for value in analysis.values.values())}


def research_news(job: Job, now: datetime) -> Store | JobResult:
    """Fetch and store a stock's newest headlines, unless done recently."""
    stock = find_stock(job.symbol)
    last = last_analysis(stock, Analysis.Kind.NEWS, now)
    if last is not None and news_hold(last, stock):
        return unchanged(last, "and news is not fetched again within cache_ttl", **_headlines_in(last))
    new, reason = 0, ""
    try:
        new = ask_source(job, lambda: refresh_news(stock, now))
    except NotOffered as nothing:
        reason = str(nothing)
    except SourceError as error:
        raise JobError(str(error)) from error
    return partial(_store, digest(stock, new, now), reason, _headlines_in)


def news_hold(last: Analysis, _stock: Stock) -> bool:
    """Whether the current version made a digest."""
    return last.version == NEWS_VERSION


def _headlines_in(analysis: Analysis) -> dict[str, Any]:
    return {"headlines": len(analysis.values["headlines"]), "new": analysis.values["new"]}


def _store(analysis: Analysis, reason: str, describe: Callable[[Analysis], dict[str, Any]]) -> JobResult:
    """Save an analysis; `reason` says why the result is incomplete, and is empty for a complete result."""
    analysis.save()
    outcome = Job.Outcome.PARTIAL if reason else Job.Outcome.UPDATED
    return JobResult(outcome, result_of(analysis, reason, **describe(analysis)))
