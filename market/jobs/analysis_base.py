"""What all kinds of analysis have in common: the stock, its sources, what was found out lately, what a job tells."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar

from django.conf import settings

from market.models import Analysis, Stock
from market.sources.base import SourceBusy, SourceError
from market.sources.budget import spending
from tasks.models import Job
from tasks.running.handlers import JobError, JobResult, JobSnoozed
from tasks.running.retries import retries_left

_Answer = TypeVar("_Answer")


def find_stock(symbol: str) -> Stock:
    """The stock to analyse. JobError where it is not known, or parked."""
    stock = Stock.objects.filter(symbol=symbol).first()
    if stock is None:
        raise JobError(f"{symbol} is not known here; fetch it first")
    if stock.status != Stock.Status.ACTIVE:
        raise JobError(f"{stock.symbol} is parked as {stock.status}; a fetch by hand that finds it ends that")
    return stock


def ask_source(job: Job, ask: Callable[[], _Answer]) -> _Answer:
    """What a source answers, out of the budget for work of this queue. SourceError where it is of no use to ask again.

    JobSnoozed while the source is busy, and JobError where another attempt may help and there is one left.
    """
    try:
        with spending(background=job.queue != Job.Queue.FOREGROUND):
            return ask()
    except SourceBusy as busy:
        raise JobSnoozed(str(busy), busy.until) from busy
    except SourceError as error:
        if error.retryable and retries_left(job):
            raise JobError(str(error), retryable=True) from error
        raise


def last_analysis(stock: Stock, kind: Analysis.Kind, now: datetime) -> Analysis | None:
    """The stock's newest analysis of that kind, where it is younger than `cache_ttl`."""
    last = Analysis.objects.latest_of(stock, kind)
    return last if last is not None and is_young(last, now) else None


def is_young(analysis: Analysis, now: datetime) -> bool:
    """Whether it is younger than `cache_ttl`."""
    return now - analysis.created_at < timedelta(hours=settings.JOB_PROCESSOR.stock_jobs.analysis.cache_ttl)


def unchanged(last: Analysis, why: str, **details: Any) -> JobResult:
    """The end of a job that had nothing to do: the last answer again, and why it still holds."""
    reason = f"analysed at {last.created_at:%Y-%m-%d %H:%M} UTC, {why}"
    return JobResult(Job.Outcome.UNCHANGED, result_of(last, reason, **details))


def result_of(analysis: Analysis, reason: str = "", **details: Any) -> dict[str, Any]:
    """The predecessor's result of an analysis, and what it is of; `details` are those of its kind.

    Without a recommendation, that is empty and the confidence 0: neither changes its type.
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
