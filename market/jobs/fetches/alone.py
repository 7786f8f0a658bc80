"""Fetches the chart of a single stock: a range of days, or a stock that no quote may answer for."""

from dataclasses import replace
from datetime import datetime
from functools import partial

from django.utils import timezone

from market.calendar.sessions import keep_sessions
from market.jobs.backfill import Mode
from market.jobs.fetches.asking import Fallback, Question, ask, fall_back
from market.jobs.fetches.needless import why_needless
from market.jobs.fetches.parameters import FetchParameters, why_no_quotes
from market.jobs.fetches.storing import fetched, nothing_fetched, store
from market.jobs.stale_analyses import request_stale_analyses
from market.models import Stock
from market.prices.gaps import missing_days
from market.sources.base import History
from tasks.delivery.dispatch import dispatch_after_commit
from tasks.models import Job
from tasks.running.handlers import JobError, JobResult, Store, read_parameters
from tasks.state import lifecycle


def fetch_stock(job: Job) -> Store | JobResult:
    """Fetch one stock's bars, unless the bars cannot have changed or are fresh and only logins asked."""
    parameters = read_parameters(FetchParameters, job)
    now = timezone.now()
    reason = why_needless([job], now).get(job.symbol, "") if parameters.start is None else ""
    if not reason and parameters.mode == Mode.GAPS:
        parameters, reason = _narrow_to_gaps(job.symbol, parameters, now)
    if reason:
        return nothing_fetched(job.symbol, reason)
    question = Question(job, job.symbol)
    try:
        history = ask(question, parameters)
    except JobError as failure:
        if fallback := fall_back(question, parameters, failure):
            return partial(_end_without_answer, job, failure, fallback)
        raise
    keep_sessions(history.exchange)
    why_chart = why_no_quotes(parameters) or "the stock was not fetched before"
    return partial(_store, job, replace(history, reason=why_chart), parameters)


def _narrow_to_gaps(symbol: str, parameters: FetchParameters, now: datetime) -> tuple[FetchParameters, str]:
    """Narrow a range to its sessions without a bar, first to last, as one request; or say why none is needed."""
    first, last = parameters.first_day(now.date()), parameters.end or now.date()
    missing = missing_days(Stock.objects.get(symbol=symbol), first, last, now)
    if not missing:
        return parameters, f"no session from {first} to {last} is missing"
    return parameters.model_copy(update={"start": missing[0], "end": missing[-1]}), ""


def _end_without_answer(job: Job, failure: JobError, fallback: Fallback) -> JobResult:
    failure.effect()
    return nothing_fetched(job.symbol, *fallback)


def _store(job: Job, history: History, parameters: FetchParameters) -> JobResult:
    (stored,) = store([history], parameters)
    dispatch_after_commit(lifecycle.wake([job.pk]))  # an analysis may wait for the history
    if job.queue == Job.Queue.FOREGROUND:  # a user waits, and reads the analyses of the new prices
        request_stale_analyses([Stock.objects.get(symbol=history.symbol)], job.user)
    return fetched(history, stored)
