"""The handler of technical analyses: the bars of a stock become an analysis, once enough are stored."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any

from market.analysis.technical.analyse import ENOUGH_BARS, analyse
from market.analysis.technical.rule import VERSION
from market.jobs.analysis_base import find_stock, last_analysis, result_of, unchanged
from market.jobs.backfill import Mode
from market.jobs.histories import HISTORY
from market.jobs.requests import request_fetches
from market.models import Analysis, Stock
from market.prices.gaps import missing_days
from tasks.models import Job
from tasks.running.handlers import JobError, JobResult, JobSnoozed, Store

ANSWER_HOLDS = timedelta(days=7)
"""The time before another fetch for a stock whose fetched history has too few bars."""
LONGEST_WAIT = timedelta(hours=1)
"""The longest wait of an analysis for a history; afterwards the stored bars have to do."""


def analyse_technically(job: Job, now: datetime) -> Store | JobResult:
    """Analyse a stock's bars, unless a recent analysis used the same bars.

    If bars are too few or outdated, their fetch comes first: JobSnoozed while the fetch is active.
    """
    fetches = _fetches_of_ranges(job.symbol, now)  # read before the bars, which then include every ended fetch
    stock = find_stock(job.symbol)
    if stock.is_outdated:
        _await_adjusted(job, stock, fetches, now)
    last = last_analysis(stock, Analysis.Kind.TECHNICAL, now)
    if last is not None and holds(last, stock):
        return unchanged(last, "and no bar has changed since", **_details(last))
    shortage = _await_history(job, stock, fetches, now)
    analysis = analyse(stock)
    if analysis is None:
        raise JobError(f"no prices of {stock.symbol} are stored: {shortage}")
    return partial(_store, analysis, shortage)


def holds(last: Analysis, stock: Stock) -> bool:
    """Whether another analysis now would give the same result."""
    return (last.version, last.bars_changed_at) == (VERSION, stock.bars_changed_at)


def _fetches_of_ranges(symbol: str, now: datetime) -> list[Job]:
    """The stock's recent backfills, the newest first."""
    fetches = Job.objects.filter(job_type=Job.Type.STOCK_FETCH, symbol=symbol, created_at__gte=now - ANSWER_HOLDS)
    return list(fetches.filter(parameters__has_key="start").order_by("-created_at"))


def _await_adjusted(job: Job, stock: Stock, fetches: Sequence[Job], now: datetime) -> None:
    """Wait for the fetch of newly adjusted bars: bars of two adjustments must not be analysed together."""
    replacing = [fetch for fetch in fetches if fetch.parameters.get("mode") == Mode.REPLACE]
    fetch = next((fetch for fetch in replacing if _tells(fetch, job)), None)
    if fetch is None:
        first_day = stock.bars.order_by("date").values_list("date", flat=True)[0]
        requested = request_fetches([stock], Job.Trigger.MAINTENANCE, start=first_day, mode=Mode.REPLACE)
        fetch = requested.jobs[0]
    _postpone_for(fetch, now)
    if fetch.finished_at is None:
        why = f"the fetch has been active since {fetch.created_at:%Y-%m-%d %H:%M} UTC"
    else:
        why = fetch.error or "the source did not have all bars"
    raise JobError(f"the source has adjusted older bars of {stock.symbol}, which have not been fetched again: {why}")


def _await_history(job: Job, stock: Stock, fetches: Sequence[Job], now: datetime) -> str:
    """Why there are too few bars for an analysis and no more to fetch; empty for enough bars."""
    days = list(stock.bars.order_by("-date").values_list("date", flat=True)[:ENOUGH_BARS])
    if len(days) == ENOUGH_BARS:
        return ""
    first_day = job.created_at.date() - HISTORY
    if days and not missing_days(stock, first_day, now.date(), now):
        return f"there are no bars before {days[-1]}"
    covering = [fetch for fetch in fetches if _covers(fetch, first_day, now)]
    fetch = next((fetch for fetch in covering if _tells(fetch, job) or fetch.status == Job.Status.COMPLETED), None)
    if fetch is None:
        fetch = request_fetches([stock], Job.Trigger.BACKGROUND_ANALYSIS, start=first_day).jobs[0]
    _postpone_for(fetch, now)
    if fetch.finished_at is None:
        return f"the fetch of its history has been active since {fetch.created_at:%Y-%m-%d %H:%M} UTC"
    if fetch.status != Job.Status.COMPLETED:
        return f"its history could not be fetched: {fetch.error}"
    return f"no source has more bars since {first_day}"


def _covers(fetch: Job, first_day: date, now: datetime) -> bool:
    start, end = fetch.parameters["start"], fetch.parameters["end"]
    return bool(start <= first_day.isoformat() and end >= (now - ANSWER_HOLDS).date().isoformat())


def _tells(fetch: Job, job: Job) -> bool:
    """Whether a fetch is active, or has ended after the analysis was requested."""
    return fetch.finished_at is None or fetch.finished_at >= job.created_at


def _postpone_for(fetch: Job, now: datetime) -> None:
    """JobSnoozed while a fetch is active and younger than LONGEST_WAIT."""
    until = fetch.created_at + LONGEST_WAIT
    if fetch.finished_at is None and now < until:
        raise JobSnoozed(f"the history of {fetch.symbol}", until, waits_for=fetch.pk)


def _store(analysis: Analysis, shortage: str) -> JobResult:
    analysis.save()
    if (analysis.bars or 0) >= ENOUGH_BARS:
        return JobResult(Job.Outcome.UPDATED, result_of(analysis, **_details(analysis)))
    reason = shortage or "earlier prices are not adjusted for a split"
    return JobResult(Job.Outcome.PARTIAL, result_of(analysis, reason, **_details(analysis)))


def _details(analysis: Analysis) -> dict[str, Any]:
    """`lacking` names the indicators without a value."""
    return {"bars": analysis.bars, "lacking": [name for name, value in analysis.values.items() if value is None]}
