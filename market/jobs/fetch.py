"""The handlers of fetch jobs: ask the sources for bars, and store the answers."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from datetime import date, datetime, timedelta
from functools import cache, partial
from queue import Empty, SimpleQueue
from threading import Semaphore
from typing import Any

from django.conf import settings
from django.db import DatabaseError, DataError, IntegrityError, connection, transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone
from pydantic import BaseModel, Field

from market.calendar.sessions import keep_sessions
from market.freshness import Freshness
from market.jobs.backfill import Mode
from market.jobs.requests import request_fetches
from market.jobs.sources import ask_source
from market.jobs.stale_analyses import request_stale_analyses
from market.models import Stock
from market.prices.gaps import missing_days
from market.prices.store import Stored, note_miss, store_histories
from market.sources import CACHED, fetch_history, last_good_day
from market.sources.base import History, MalformedAnswer, SourceError, SymbolNotFound
from market.sources.concurrency import taking
from tasks.models import Job, JobEvent
from tasks.running.handlers import JobError, JobResult, JobSnoozed, Store, read_parameters
from tasks.running.retries import retries_left
from tasks.state import lifecycle

logger = logging.getLogger(__name__)

LONGEST_RANGE = 36_525
TOGETHER = 0.1
"""Seconds that an answer waits for other answers, so that one transaction stores all."""
READERS = 2
"""Threads beyond the number of concurrent requests."""
UNDER_WAY = 3
"""Stocks in flight for each concurrent request, so that no thread waits while answers are stored."""
_MEMBER = ("success", "records", "source", "reason", "adjusted", "error")
"""The fields of a batch member's result."""

_UNFIT = (DataError, IntegrityError, Stock.DoesNotExist, ArithmeticError, ValueError)
"""Errors of an answer that the database can never store."""

Answer = tuple[str, Future[History]]
"""A symbol with a future: a history from its sources, or JobError, or JobSnoozed."""


class FetchParameters(BaseModel):
    """The days to fetch of a stock: from `start` to `end`, or the last `days` days."""

    days: int = Field(default=30, ge=1, le=LONGEST_RANGE)
    start: date | None = None
    end: date | None = None
    mode: Mode = Mode.UPDATE

    def first_day(self, today: date) -> date:
        return self.start or today - timedelta(days=self.days)

    def reaches(self, today: date) -> bool:
        """Whether the range includes the newest bar."""
        return self.end is None or self.end >= today


class BatchParameters(FetchParameters):
    """A fetch of several stocks."""

    symbols: list[str] = Field(min_length=1)


def fetch_stock(job: Job) -> Store | JobResult:
    """Fetch one stock's bars, unless the bars cannot have changed or are fresh and only logins asked."""
    parameters = read_parameters(FetchParameters, job)
    now = timezone.now()
    reason = _why_needless(job, parameters, now)
    if not reason and parameters.mode == Mode.GAPS:
        parameters, reason = _narrow_to_gaps(job.symbol, parameters, now)
    if reason:
        return _nothing_fetched(job.symbol, reason)
    try:
        history = _ask(job, job.symbol, parameters)
    except JobError as failure:
        if reason := _why_last_good(job, job.symbol, parameters, failure):
            return _nothing_fetched(job.symbol, reason, CACHED)
        raise
    keep_sessions(history.exchange)
    return partial(_store_stock, job, history, parameters)


def _narrow_to_gaps(symbol: str, parameters: FetchParameters, now: datetime) -> tuple[FetchParameters, str]:
    """Narrow a range to its sessions without a bar, first to last, as one request; or say why none is needed."""
    first, last = parameters.first_day(now.date()), parameters.end or now.date()
    missing = missing_days(Stock.objects.get(symbol=symbol), first, last, now)
    if not missing:
        return parameters, f"no session from {first} to {last} is missing"
    return parameters.model_copy(update={"start": missing[0], "end": missing[-1]}), ""


def _why_needless(job: Job, parameters: FetchParameters, now: datetime) -> str:
    """Why a stock need not be fetched: its market is closed, or the stock is fresh and only logins asked."""
    stock = Stock.objects.filter(symbol=job.symbol).first()
    if stock is None or stock.status != Stock.Status.ACTIVE or parameters.start is not None:
        return ""
    freshness = Freshness.of([stock], now)
    if closed_since := freshness.closed_since(stock):
        return _market_closed(closed_since)
    if freshness.is_stale(stock) or job.trigger != Job.Trigger.USER_LOGIN:
        return ""
    if job.requests.exclude(trigger=Job.Trigger.USER_LOGIN).exists():
        return ""
    return "already fresh"


def _nothing_fetched(symbol: str, reason: str, source: str = "") -> JobResult:
    result = {"symbol": symbol, "source": source, "records_stored": 0, "days_fetched": 0, "reason": reason}
    return JobResult(Job.Outcome.UNCHANGED, result)


def _why_last_good(job: Job, symbol: str, parameters: FetchParameters, failure: JobError) -> str:
    """Why the last good bars are the answer, if bars are stored and no attempt will follow; else empty.

    The stock does not count as checked, and stays stale. An unknown symbol is an answer already, and a range of days
    has no fallback.
    """
    if parameters.start is not None or isinstance(failure.__cause__, SymbolNotFound):
        return ""
    if failure.retryable and retries_left(job):
        return ""
    day = last_good_day(symbol)
    return f"{failure}; the last good bars, of {day}, are shown" if day else ""


def _market_closed(since: datetime) -> str:
    return f"market closed since {since:%Y-%m-%d %H:%M} UTC"


def _store_stock(job: Job, history: History, parameters: FetchParameters) -> JobResult:
    (stored,) = _store([history], parameters)
    if job.queue == Job.Queue.FOREGROUND:  # a user waits, and reads the analyses of the new prices
        request_stale_analyses([Stock.objects.get(symbol=history.symbol)], job.user)
    result: dict[str, Any] = {
        "symbol": history.symbol,
        "source": history.source,
        "records_stored": stored.written,
        "days_fetched": stored.received,
        "latest_before": stored.latest_before and stored.latest_before.isoformat(),
        "latest_after": stored.latest_after.isoformat(),
        **_told_of_adjustment(stored),
    }
    if stored.written:
        return JobResult(Job.Outcome.UPDATED, result)
    return JobResult(Job.Outcome.UNCHANGED, result | {"reason": _nothing_new(history, stored)})


def _store(histories: Sequence[History], parameters: FetchParameters) -> list[Stored]:
    """Write the answers. If an answer shows an adjustment of older stored bars, request all of them anew."""
    now = timezone.now()
    stored = store_histories(
        histories,
        now if parameters.reaches(now.date()) else None,
        asked_from=parameters.start,
        replace=parameters.mode == Mode.REPLACE,
    )
    for history, one in zip(histories, stored, strict=True):
        if one.outdated_from:
            stock = Stock.objects.get(symbol=history.symbol)
            request_fetches([stock], Job.Trigger.MAINTENANCE, start=one.outdated_from, mode=Mode.REPLACE)
    return stored


def _told_of_adjustment(stored: Stored) -> dict[str, str]:
    return {"adjusted": f"fetched again from {stored.outdated_from}"} if stored.outdated_from else {}


def fetch_batch(job: Job) -> JobResult:
    """Fetch several stocks, a few at a time, and skip stocks that need no fetch.

    Answers that arrive together are stored and reported together. An unknown stock does not fail the rest. A retryable
    error ends the attempt after the requests in flight; the next attempt continues with the remaining stocks. In the
    last attempt, a stock with stored bars falls back to the last good bars instead. A malformed answer says nothing
    about the rest: the batch goes on, and the next attempt fetches the failed stock again.
    """
    parameters = read_parameters(BatchParameters, job)
    results = _noted_before(job)
    errors: list[JobError | JobSnoozed] = []
    freshness = Freshness.of(Stock.objects.filter(symbol__in=parameters.symbols), timezone.now())
    left = [symbol for symbol in dict.fromkeys(parameters.symbols) if symbol not in results]
    at_once = settings.JOB_PROCESSOR.stock_jobs.data_fetch.concurrency

    def turns() -> Iterator[str]:
        for first in range(0, len(left), UNDER_WAY * at_once):
            symbols = left[first : first + UNDER_WAY * at_once]
            reasons = {} if any(map(_ends_attempt, errors)) else _why_not(symbols, parameters, freshness)
            for symbol in symbols:
                if any(map(_ends_attempt, errors)):
                    return
                if reason := reasons.get(symbol):
                    results[symbol] = {"success": True, "records": 0, "skipped": reason}
                else:
                    yield symbol

    for answers in _ask_together(job, turns(), parameters, at_once):
        errors += _keep(job, results, answers, parameters)
    if errors:
        raise max(errors, key=_ends_attempt)
    return _end_batch(results)


def _ends_attempt(error: JobError | JobSnoozed) -> bool:
    """Whether an error makes the rest of the batch likely to fail as well."""
    return not isinstance(error.__cause__, MalformedAnswer)


def _ask_together(
    job: Job, symbols: Iterable[str], parameters: FetchParameters, at_once: int
) -> Iterator[list[Answer]]:
    """Ask for several stocks, `at_once` requests at a time; yields answers as they arrive."""
    under_way: dict[Future[History], str] = {}
    ended: SimpleQueue[Future[History]] = SimpleQueue()
    try:
        for symbol in symbols:
            asked = _threads(at_once).submit(_ask_in_thread, job, symbol, parameters, _turns(at_once))
            under_way[asked] = symbol
            asked.add_done_callback(ended.put)
            while len(under_way) >= UNDER_WAY * at_once:
                yield _take_ended(under_way, ended)
        while under_way:
            yield _take_ended(under_way, ended)
    finally:
        for answer in under_way:
            answer.cancel()


def _take_ended(under_way: dict[Future[History], str], ended: "SimpleQueue[Future[History]]") -> list[Answer]:
    """The next answer and all answers within TOGETHER seconds, in the order of their requests."""
    found = {ended.get()}
    wait(under_way, timeout=TOGETHER)
    with suppress(Empty):
        while True:
            found.add(ended.get_nowait())
    return [(under_way.pop(answer), answer) for answer in list(under_way) if answer in found]


@cache
def _threads(at_once: int) -> ThreadPoolExecutor:
    """A process's threads for fetching, which keep their sessions open from batch to batch.

    Threads outnumber requests, so that requests go out while some threads read answers.
    """
    return ThreadPoolExecutor(at_once + READERS, thread_name_prefix="fetch")


@cache
def _turns(at_once: int) -> Semaphore:
    """The limit of concurrent requests for all batches of a process."""
    return Semaphore(at_once)


def _ask_in_thread(job: Job, symbol: str, parameters: FetchParameters, turns: Semaphore) -> History:
    try:
        with taking(turns):
            return _ask(job, symbol, parameters)
    finally:
        connection.close()  # counting a request opened a connection, not needed again soon


def _why_not(symbols: Sequence[str], parameters: BatchParameters, freshness: Freshness) -> dict[str, str]:
    """Why members of a batch are skipped (fresh, or fetched by another job); empty for members to fetch."""
    if parameters.start is not None:
        return {}
    single = Job.objects.active().filter(job_type=Job.Type.STOCK_FETCH, symbol=OuterRef("symbol"))
    stocks = Stock.objects.filter(symbol__in=symbols).annotate(on_its_way=Exists(single))
    reasons = dict.fromkeys(symbols, "deleted")
    return reasons | {stock.symbol: _why_needs_none(stock, freshness) for stock in stocks}


def _why_needs_none(stock: Any, freshness: Freshness) -> str:
    if stock.status != Stock.Status.ACTIVE:
        return f"parked as {stock.status}"
    if closed_since := freshness.closed_since(stock):
        return _market_closed(closed_since)
    if not freshness.is_stale(stock):
        return "fresh"
    return "active in another job" if stock.on_its_way else ""


def _keep(
    job: Job, results: dict[str, dict[str, Any]], answers: Iterable[Answer], parameters: FetchParameters
) -> list[JobError | JobSnoozed]:
    """Store and report answers, in order; returns the errors that need another attempt."""
    errors: list[JobError | JobSnoozed] = []
    histories: list[History] = []
    for symbol, answer in answers:
        try:
            histories.append(answer.result())
        except JobSnoozed as pause:
            errors.append(pause)
        except JobError as failure:
            reason = _why_last_good(job, symbol, parameters, failure)
            if failure.retryable and not reason and (retries_left(job) or _ends_attempt(failure)):
                errors.append(failure)
                continue
            _store_members(job, results, histories, parameters)
            histories = []
            if reason:
                member = {"success": True, "records": 0, "source": CACHED, "reason": reason}
                _note_member(job, results, symbol, member)
            else:
                _note_member(job, results, symbol, {"success": False, "error": str(failure)}, failure.effect)
    _store_members(job, results, histories, parameters)
    return errors


def _store_members(
    job: Job, results: dict[str, dict[str, Any]], histories: Sequence[History], parameters: FetchParameters
) -> None:
    """Write and report the answers of a batch together; on an error, one by one.

    A stock whose answer cannot be stored fails alone. Raises if the database fails.
    """
    if not histories:
        return
    for history in histories:
        keep_sessions(history.exchange)
    try:
        with transaction.atomic():
            stored = _store(histories, parameters)
            members = {history.symbol: _member(history, one) for history, one in zip(histories, stored, strict=True)}
            _tell_members(job, results, members)
    except (DatabaseError, *_UNFIT) as error:
        if len(histories) > 1:
            for history in histories:
                _store_members(job, results, [history], parameters)
        elif isinstance(error, _UNFIT):
            _note_unfit(job, results, histories[0].symbol, error)
        else:
            raise
    else:
        results.update(members)


def _note_unfit(job: Job, results: dict[str, dict[str, Any]], symbol: str, error: Exception) -> None:
    """Log and report why the answer for a stock cannot be stored."""
    reason = str(error)
    if not isinstance(error, Stock.DoesNotExist):
        reason = f"the answer for {symbol} cannot be stored: {type(error).__name__}: {error}".splitlines()[0]
    logger.warning("job %s: %s", job.pk, reason)
    _note_member(job, results, symbol, {"success": False, "error": reason})


def _member(history: History, stored: Stored) -> dict[str, Any]:
    member = {"success": True, "records": stored.written, "source": history.source, **_told_of_adjustment(stored)}
    return member if stored.written else member | {"reason": _nothing_new(history, stored)}


def _note_member(
    job: Job, results: dict[str, dict[str, Any]], symbol: str, member: dict[str, Any], effect: Any = lambda: None
) -> None:
    """Store and report the result of a stock."""
    with transaction.atomic(savepoint=False):
        _tell_members(job, results, {symbol: member})
        effect()
    results[symbol] = member


def _tell_members(job: Job, results: dict[str, dict[str, Any]], members: dict[str, dict[str, Any]]) -> None:
    """Report members as events; later attempts skip reported members."""
    total = len(job.parameters["symbols"])
    lifecycle.report_progress(
        job,
        [
            {"symbol": symbol, **member, "done": done, "total": total}
            for done, (symbol, member) in enumerate(members.items(), len(results) + 1)
        ],
    )


def _noted_before(job: Job) -> dict[str, dict[str, Any]]:
    """The results of stocks from earlier attempts, read from the job's events."""
    if job.attempt == 1:
        return {}
    told = job.events.filter(event=JobEvent.Event.PROGRESS).order_by("seq").values_list("payload", flat=True)
    return {one["symbol"]: {name: one[name] for name in _MEMBER if name in one} for one in told}


def _end_batch(results: dict[str, dict[str, Any]]) -> JobResult:
    failed = {symbol: member["error"] for symbol, member in results.items() if not member["success"]}
    cached = [member["reason"] for member in results.values() if member.get("source") == CACHED]
    written = sum(member.get("records", 0) for member in results.values())
    result: dict[str, Any] = {
        "symbols_processed": len(results),
        "successful_symbols": len(results) - len(failed),
        "records_stored": written,
        "results": results,
    }
    if len(failed) == len(results):
        first, error = next(iter(failed.items()))
        raise JobError(f"none of {len(results)} stocks could be fetched; {first}: {error}")
    if len(cached) == len(results):
        return JobResult(
            Job.Outcome.UNCHANGED, result | {"reason": f"none of {len(results)} stocks was fetched; {cached[0]}"}
        )
    if failed or cached:
        return JobResult(Job.Outcome.PARTIAL, result)
    if written:
        return JobResult(Job.Outcome.UPDATED, result)
    return JobResult(Job.Outcome.UNCHANGED, result | {"reason": "no new bars for any stock"})


def _ask(job: Job, symbol: str, parameters: FetchParameters) -> History:
    """A stock's history from the sources; source errors become JobError. An unknown symbol counts as checked.

    JobSnoozed if no source is available now.
    """
    first = parameters.first_day(timezone.now().date())
    try:
        return ask_source(job, lambda: fetch_history(symbol, first, parameters.end))
    except SourceError as error:
        if isinstance(error, SymbolNotFound) and parameters.start is None:  # a range may end before its first day
            raise JobError(str(error), effect=partial(note_miss, symbol, timezone.now())) from error
        raise JobError(str(error), retryable=error.retryable) from error


def _nothing_new(history: History, stored: Stored) -> str:
    return f"{history.source} has nothing newer than {stored.latest_after}"
