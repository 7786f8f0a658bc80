"""The common parts of all kinds of analysis: the stock, its sources, the last analysis and the job's result."""

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings

from market.models import Analysis, Stock
from tasks.models import Job
from tasks.running.handlers import JobError, JobResult


def find_stock(symbol: str) -> Stock:
    """The stock to analyse. JobError if the stock is unknown or parked."""
    stock = Stock.objects.filter(symbol=symbol).first()
    if stock is None:
        raise JobError(f"unknown stock {symbol}; fetch it first")
    if stock.status != Stock.Status.ACTIVE:
        raise JobError(f"{stock.symbol} is parked as {stock.status}; a manual fetch that finds bars reactivates it")
    return stock


def last_analysis(stock: Stock, kind: Analysis.Kind, now: datetime) -> Analysis | None:
    """The stock's newest analysis of a kind, if younger than `cache_ttl`."""
    last = Analysis.objects.latest_of(stock, kind)
    return last if last is not None and is_young(last, now) else None


def is_young(analysis: Analysis, now: datetime) -> bool:
    """Whether an analysis is younger than `cache_ttl`."""
    return now - analysis.created_at < timedelta(hours=settings.JOB_PROCESSOR.stock_jobs.analysis.cache_ttl)


def unchanged(last: Analysis, why: str, **details: Any) -> JobResult:
    """The result of a job without work to do: the last analysis, and why it is still valid."""
    reason = f"analysed at {last.created_at:%Y-%m-%d %H:%M} UTC, {why}"
    return JobResult(Job.Outcome.UNCHANGED, result_of(last, reason, **details))


def result_of(analysis: Analysis, reason: str = "", **details: Any) -> dict[str, Any]:
    """The predecessor's result of an analysis, with its basis; `details` are specific to the kind.

    Without a recommendation, `recommendation` is empty and `confidence` 0, so that neither changes its type.
    """
    return {
        "symbol": analysis.stock.symbol,
        "analysis_types": [analysis.kind],
        "recommendation": analysis.recommendation,
        "confidence": analysis.confidence or 0.0,
        "data_as_of": analysis.data_as_of and str(analysis.data_as_of),
        "version": analysis.version,
        **details,
        **({"reason": reason} if reason else {}),
    }
