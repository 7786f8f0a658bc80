"""The work of fetch jobs: ask the sources, and store what they answer."""

from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import date, datetime, timedelta
from functools import cache, partial
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Exists
from django.utils import timezone
from pydantic import BaseModel, Field

from market.freshness import Freshness
from market.gaps import missing_days
from market.models import Stock
from market.sessions import keep_sessions
from market.sources import CACHED, fetch_history, last_good_day
from market.sources.base import History, SourceBusy, SourceError, SymbolNotFound
from market.sources.budget import spending
from market.store import Stored, note_miss, store_history
from tasks import lifecycle
from tasks.backfill import Mode
from tasks.models import Job, JobEvent
from tasks.requests import request_fetches
from tasks.retries import retries_left
from tasks.work import Done, Store, WorkFailed, WorkPostponed, does, read_parameters

LONGEST_RANGE = 36_525
_MEMBER = ("success", "records", "source", "reason", "adjusted", "error")
"""What is told of one stock of a batch."""


class FetchParameters(BaseModel):
    """What to fetch of a stock: the days from `start` to `end`, or the last `days` days."""

    days: int = Field(default=30, ge=1, le=LONGEST_RANGE)
    start: date | None = None
    end: date | None = None
    mode: Mode = Mode.UPDATE

    def first_day(self, today: date) -> date:
        return self.start or today - timedelta(days=self.days)

    def reaches(self, today: date) -> bool:
        """Whether the newest bar is among what is asked for."""
        return self.end is None or self.end >= today


class BatchParameters(FetchParameters):
    """A fetch of several stocks."""

    symbols: list[str] = Field(min_length=1)


@does(Job.Type.STOCK_FETCH)
def fetch_stock(job: Job) -> Store | Done:
    """Fetch one stock's bars, unless they cannot have changed or were fetched just before a login asked for them."""
    parameters = read_parameters(FetchParameters, job)
    now = timezone.now()
    reason = _why_needless(job, parameters, now)
    if not reason and parameters.mode == Mode.GAPS:
        parameters, reason = _narrow_to_gaps(job.symbol, parameters, now)
    if reason:
        return _nothing_fetched(job.symbol, reason)
    try:
        history = _ask(job, job.symbol, parameters)
    except WorkFailed as failure:
        if reason := _why_last_good(job, job.symbol, parameters, failure):
            return _nothing_fetched(job.symbol, reason, CACHED)
        raise
    keep_sessions(history.exchange)
    return partial(_store_stock, history, parameters)


def _narrow_to_gaps(symbol: str, parameters: FetchParameters, now: datetime) -> tuple[FetchParameters, str]:
    """From the first to the last session without a bar, which is one request; or why there is nothing to ask for."""
    first, last = parameters.first_day(now.date()), parameters.end or now.date()
    missing = missing_days(Stock.objects.get(symbol=symbol), first, last, now)
    if not missing:
        return parameters, f"no session from {first} to {last} is missing"
    return parameters.model_copy(update={"start": missing[0], "end": missing[-1]}), ""


def _why_needless(job: Job, parameters: FetchParameters, now: datetime) -> str:
    """Why a stock need not be asked for: its market is closed, or it is fresh by now and only logins asked."""
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
    return "it was fetched a moment before"


def _nothing_fetched(symbol: str, reason: str, source: str = "") -> Done:
    result = {"symbol": symbol, "source": source, "records_stored": 0, "days_fetched": 0, "reason": reason}
    return Done(Job.Outcome.UNCHANGED, result)


def _why_last_good(job: Job, symbol: str, parameters: FetchParameters, failure: WorkFailed) -> str:
    """Why the last good bars are the answer, where some are stored and no attempt will follow; else empty.

    The stock does not count as checked, and stays stale. That a symbol is unknown is an answer already, and a range of
    days is fetched or not.
    """
    if parameters.start is not None or isinstance(failure.__cause__, SymbolNotFound):
        return ""
    if failure.passes and retries_left(job):
        return ""
    day = last_good_day(symbol)
    return f"{failure}; the last good bars, of {day}, are shown" if day else ""


def _market_closed(since: datetime) -> str:
    return f"market closed since {since:%Y-%m-%d %H:%M} UTC"


def _store_stock(history: History, parameters: FetchParameters) -> Done:
    stored = _store(history, parameters)
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
        return Done(Job.Outcome.UPDATED, result)
    return Done(Job.Outcome.UNCHANGED, result | {"reason": _nothing_new(history, stored)})


def _store(history: History, parameters: FetchParameters) -> Stored:
    """Write the answer. Where it shows that older bars were adjusted since they were stored, ask for all of them."""
    now = timezone.now()
    stored = store_history(
        history,
        now if parameters.reaches(now.date()) else None,
        asked_from=parameters.start,
        replace=parameters.mode == Mode.REPLACE,
    )
    if stored.outdated_from:
        stock = Stock.objects.get(symbol=history.symbol)
        request_fetches([stock], Job.Trigger.MAINTENANCE, start=stored.outdated_from, mode=Mode.REPLACE)
    return stored


def _told_of_adjustment(stored: Stored) -> dict[str, str]:
    return {"adjusted": f"fetched anew from {stored.outdated_from}"} if stored.outdated_from else {}


@does(Job.Type.STOCK_BATCH_FETCH)
def fetch_batch(job: Job) -> Done:
    """Fetch several stocks, a few at a time, each stored and told as it comes; those that need none are passed over.

    A stock that is unknown does not fail the others. An error that may pass ends the attempt, once what is under way
    has come: the next one goes on with what is left. In the last attempt it ends nothing where there are stored bars.
    """
    parameters = read_parameters(BatchParameters, job)
    results = _noted_before(job)
    ended_by: list[WorkFailed | WorkPostponed] = []
    freshness = Freshness.of(Stock.objects.filter(symbol__in=parameters.symbols), timezone.now())

    def turns() -> Iterator[str]:
        for symbol in parameters.symbols:
            if ended_by:
                return
            if symbol in results:
                continue
            if reason := _why_not(symbol, parameters, freshness):
                results[symbol] = {"success": True, "records": 0, "skipped": reason}
            else:
                yield symbol

    for symbol, answer in _ask_together(job, turns(), parameters):
        try:
            history = answer.result()
        except WorkPostponed as pause:
            ended_by.append(pause)
        except WorkFailed as failure:
            if reason := _why_last_good(job, symbol, parameters, failure):
                member = {"success": True, "records": 0, "source": CACHED, "reason": reason}
                _note_member(job, results, symbol, member)
            elif failure.passes:
                ended_by.append(failure)
            else:
                _note_member(job, results, symbol, {"success": False, "error": str(failure)}, failure.effect)
        else:
            keep_sessions(history.exchange)
            _store_member(job, results, symbol, history, parameters)
    if ended_by:
        raise ended_by[0]
    return _end_batch(results)


def _ask_together(
    job: Job, symbols: Iterable[str], parameters: FetchParameters
) -> Iterator[tuple[str, "Future[History]"]]:
    """Ask for several stocks at the same time, as many as `data_fetch.concurrency` says; each answer as it comes."""
    at_once = settings.JOB_PROCESSOR.stock_jobs.data_fetch.concurrency
    under_way: dict[Future[History], str] = {}
    try:
        for symbol in symbols:
            under_way[_threads(at_once).submit(_ask_in_thread, job, symbol, parameters)] = symbol
            while len(under_way) >= 2 * at_once:  # so that no thread waits while one's answer is stored
                yield from _take_ended(under_way)
        while under_way:
            yield from _take_ended(under_way)
    finally:
        for answer in under_way:
            answer.cancel()


def _take_ended(under_way: "dict[Future[History], str]") -> Iterator[tuple[str, "Future[History]"]]:
    ended = wait(under_way, return_when=FIRST_COMPLETED).done
    for answer in [answer for answer in under_way if answer in ended]:  # in the order in which they were asked for
        yield under_way.pop(answer), answer


@cache
def _threads(count: int) -> ThreadPoolExecutor:
    """A process's threads for fetching, which keep its sessions open from batch to batch."""
    return ThreadPoolExecutor(count, thread_name_prefix="fetch")


def _ask_in_thread(job: Job, symbol: str, parameters: FetchParameters) -> History:
    try:
        return _ask(job, symbol, parameters)
    finally:
        connection.close()  # there is one where a request was counted; it is not asked for again soon


def _why_not(symbol: str, parameters: BatchParameters, freshness: Freshness) -> str:
    """Why a member of a batch is not fetched: it is fresh by now, or another job fetches it; empty where it is."""
    if parameters.start is not None:
        return ""
    single = Job.objects.active().filter(job_type=Job.Type.STOCK_FETCH, symbol=symbol)
    stock = Stock.objects.filter(symbol=symbol).annotate(on_its_way=Exists(single)).first()
    if stock is None:
        return "not known here any more"
    if stock.status != Stock.Status.ACTIVE:
        return f"parked as {stock.status}"
    if closed_since := freshness.closed_since(stock):
        return _market_closed(closed_since)
    if not freshness.is_stale(stock):
        return "fresh"
    return "on its way" if stock.on_its_way else ""


def _store_member(
    job: Job, results: dict[str, dict[str, Any]], symbol: str, history: History, parameters: FetchParameters
) -> None:
    with transaction.atomic():
        stored = _store(history, parameters)
        member: dict[str, Any] = {"success": True, "records": stored.written, "source": history.source}
        member |= _told_of_adjustment(stored)
        if not stored.written:
            member["reason"] = _nothing_new(history, stored)
        _note_member(job, results, symbol, member)


def _note_member(
    job: Job, results: dict[str, dict[str, Any]], symbol: str, member: dict[str, Any], effect: Any = lambda: None
) -> None:
    """Keep what came of one stock, and tell it; a later attempt does not ask for it again."""
    results[symbol] = member
    total = len(job.parameters["symbols"])
    with transaction.atomic(savepoint=False):
        lifecycle.report_progress(
            job,
            {"symbol": symbol, **member, "done": len(results), "total": total},
        )
        effect()


def _noted_before(job: Job) -> dict[str, dict[str, Any]]:
    """What came of stocks in earlier attempts, as their events tell it."""
    if job.attempt == 1:
        return {}
    told = job.events.filter(event=JobEvent.Event.PROGRESS).order_by("seq").values_list("payload", flat=True)
    return {one["symbol"]: {name: one[name] for name in _MEMBER if name in one} for one in told}


def _end_batch(results: dict[str, dict[str, Any]]) -> Done:
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
        raise WorkFailed(f"none of {len(results)} stocks could be fetched; {first}: {error}")
    if len(cached) == len(results):
        return Done(Job.Outcome.UNCHANGED, result | {"reason": f"none of {len(results)} was fetched; {cached[0]}"})
    if failed or cached:
        return Done(Job.Outcome.PARTIAL, result)
    if written:
        return Done(Job.Outcome.UPDATED, result)
    return Done(Job.Outcome.UNCHANGED, result | {"reason": "nothing new for any of its stocks"})


def _ask(job: Job, symbol: str, parameters: FetchParameters) -> History:
    """What the sources have; their errors as WorkFailed. That a symbol is unknown counts as checked.

    WorkPostponed where none of them may be asked now.
    """
    try:
        with spending(background=job.queue != Job.Queue.FOREGROUND):
            return fetch_history(symbol, parameters.first_day(timezone.now().date()), parameters.end)
    except SourceBusy as busy:
        raise WorkPostponed(str(busy), busy.until) from busy
    except SourceError as error:
        if isinstance(error, SymbolNotFound) and parameters.start is None:  # a range may end before its first day
            raise WorkFailed(str(error), effect=partial(note_miss, symbol, timezone.now())) from error
        raise WorkFailed(str(error), passes=error.passes) from error


def _nothing_new(history: History, stored: Stored) -> str:
    return f"{history.source} has nothing newer than {stored.latest_after}"
