"""Fetches many stocks for a single job: quotes of as many stocks as possible, and charts of the rest."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from django.db import DatabaseError, DataError, IntegrityError, transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from market.calendar.sessions import keep_sessions
from market.freshness import Freshness
from market.jobs.fetches.asking import (
    UNDER_WAY,
    Answer,
    Question,
    ask_together,
    concurrency,
    ends_attempt,
    fall_back,
)
from market.jobs.fetches.parameters import BatchParameters, quote_size, why_no_quotes
from market.jobs.fetches.quotes import Quoted, ask_for_quotes
from market.jobs.fetches.storing import adjustment_in, nothing_new, store, via, why_closed
from market.jobs.limits import share_of
from market.models import Stock
from market.prices.store import Stored
from market.sources import CACHED
from market.sources.base import History
from tasks.models import Job, JobEvent
from tasks.running.handlers import JobError, JobResult, JobSnoozed, read_parameters
from tasks.running.retries import retries_left
from tasks.state import lifecycle

logger = logging.getLogger(__name__)

Member = dict[str, Any]
"""The result of a stock."""

_MEMBER = ("success", "records", "source", "reason", "adjusted", "via", "via_reason", "error")
"""The fields of a batch member's result."""

_UNFIT = (DataError, IntegrityError, Stock.DoesNotExist, ArithmeticError, ValueError)
"""Errors of an answer that the database can never store."""


def fetch_batch(job: Job) -> JobResult:
    """Fetch several stocks, and skip stocks that need no fetch.

    Answers that arrive together are stored and reported together. An unknown stock does not fail the rest. A retryable
    error ends the attempt after the requests in flight; the next attempt continues with the remaining stocks. In the
    last attempt, a stock with stored bars falls back to the last good bars instead. A malformed answer says nothing
    about the rest: the batch goes on, and the next attempt fetches the failed stock again.
    """
    batch = _Batch(job)
    batch.fetch_by_quote()
    batch.fetch_by_chart()
    if batch.errors:
        raise max(batch.errors, key=ends_attempt)
    return _end(batch.results, batch.requests)


class _Batch:
    """An attempt at a batch: the results of its stocks so far, by symbol, and errors that need another attempt.

    `requests` counts the requests of this attempt for quotes and charts.
    """

    def __init__(self, job: Job) -> None:
        self.results = _noted_before(job)
        self.errors: list[JobError | JobSnoozed] = []
        self.requests = 0
        self._job = job
        self._parameters = read_parameters(BatchParameters, job)
        now, stocks = timezone.now(), list(Stock.objects.filter(symbol__in=self._parameters.symbols))
        self._freshness = Freshness.of(stocks, now)
        self._ahead = Freshness.of(stocks, now + timedelta(minutes=self._parameters.ahead))
        self._share = share_of(job.queue, job.priority)
        self._quoted = Quoted()

    def fetch_by_quote(self) -> None:
        """Fetch the stocks that quotes can answer for."""
        if why_no_quotes(self._parameters):
            return
        symbols = self._left()
        for first in range(0, len(symbols), quote_size()):
            needed = self._without_needless(symbols[first : first + quote_size()])
            quoted = ask_for_quotes(list(Stock.objects.filter(symbol__in=needed)), self._share)
            self._quoted.why_chart |= quoted.why_chart
            self._quoted.broken |= quoted.broken
            self.requests += quoted.requests
            self._store([quoted.histories[symbol] for symbol in needed if symbol in quoted.histories])

    def fetch_by_chart(self) -> None:
        """Fetch the remaining stocks, until an error ends the attempt."""
        for answers in ask_together(self._questions(), self._parameters):
            self._keep(answers)

    def _left(self) -> list[str]:
        return [symbol for symbol in dict.fromkeys(self._parameters.symbols) if symbol not in self.results]

    def _questions(self) -> Iterator[Question]:
        symbols, size = self._left(), UNDER_WAY * concurrency()
        for first in range(0, len(symbols), size):
            if self._is_stopped():
                return
            for symbol in self._without_needless(symbols[first : first + size]):
                if self._is_stopped():
                    return
                yield Question(self._job, symbol)

    def _is_stopped(self) -> bool:
        return any(map(ends_attempt, self.errors))

    def _without_needless(self, symbols: Sequence[str]) -> list[str]:
        """The members that have to be fetched. Skipped members are fresh, or another job fetches them."""
        if self._parameters.start is not None:
            return list(symbols)
        single = Job.objects.active().filter(job_type=Job.Type.STOCK_FETCH, symbol=OuterRef("symbol"))
        stocks = Stock.objects.filter(symbol__in=symbols).annotate(on_its_way=Exists(single))
        reasons = dict.fromkeys(symbols, "deleted")
        reasons |= {stock.symbol: self._why_needs_none(stock) for stock in stocks}
        self.results |= {
            symbol: {"success": True, "records": 0, "skipped": reason} for symbol, reason in reasons.items() if reason
        }
        return [symbol for symbol in symbols if not reasons[symbol]]

    def _why_needs_none(self, stock: Any) -> str:
        if stock.status != Stock.Status.ACTIVE:
            return f"parked as {stock.status}"
        if self._parameters.charts:
            return ""
        if closed := why_closed(stock, self._freshness):
            return closed
        if not self._ahead.is_stale(stock):
            return "fresh"
        return "active in another job" if stock.on_its_way else ""

    def _keep(self, answers: Iterable[Answer]) -> None:
        """Store and report answers, in order."""
        histories: list[History] = []
        for question, answer in answers:
            self.requests += not isinstance(answer.exception(), JobSnoozed)
            try:
                history = answer.result()
                explained = self._quoted.explain(history)
                histories.append(replace(explained, reason=explained.reason or why_no_quotes(self._parameters)))
            except JobSnoozed as pause:
                self.errors.append(pause)
            except JobError as failure:
                fallback = fall_back(question, self._parameters, failure)
                if failure.retryable and not fallback and (retries_left(self._job) or ends_attempt(failure)):
                    self.errors.append(failure)
                    continue
                self._store(histories)
                histories = []
                if fallback:
                    member = {"success": True, "records": 0, **fallback._asdict()}
                    self._note(question.symbol, member, failure.effect)
                else:
                    self._note(question.symbol, {"success": False, "error": str(failure)}, failure.effect)
        self._store(histories)

    def _store(self, histories: Sequence[History]) -> None:
        """Write and report answers together; on an error, one by one.

        A stock whose answer cannot be stored fails alone. Raises if the database fails.
        """
        if not histories:
            return
        for history in histories:
            keep_sessions(history.exchange)
        try:
            with transaction.atomic():
                stored = store(histories, self._parameters)
                members = {
                    history.symbol: _member(history, one) for history, one in zip(histories, stored, strict=True)
                }
                self._tell(members)
        except (DatabaseError, *_UNFIT) as error:
            if len(histories) > 1:
                for history in histories:
                    self._store([history])
            elif isinstance(error, _UNFIT):
                self._note_unfit(histories[0].symbol, error)
            else:
                raise
        else:
            self.results |= members

    def _note_unfit(self, symbol: str, error: Exception) -> None:
        """Log and report why the answer for a stock cannot be stored."""
        reason = str(error)
        if not isinstance(error, Stock.DoesNotExist):
            reason = f"the answer for {symbol} cannot be stored: {type(error).__name__}: {error}".splitlines()[0]
        logger.warning("job %s: %s", self._job.pk, reason)
        self._note(symbol, {"success": False, "error": reason})

    def _note(self, symbol: str, member: Member, effect: Callable[[], object] = lambda: None) -> None:
        """Store and report the result of a stock."""
        with transaction.atomic(savepoint=False):
            self._tell({symbol: member})
            effect()
        self.results[symbol] = member

    def _tell(self, members: dict[str, Member]) -> None:
        """Report members as events; later attempts skip reported members."""
        total = len(self._parameters.symbols)
        lifecycle.report_progress(
            self._job,
            [
                {"symbol": symbol, **member, "done": done, "total": total}
                for done, (symbol, member) in enumerate(members.items(), len(self.results) + 1)
            ],
        )


def _member(history: History, stored: Stored) -> Member:
    member = {
        "success": True,
        "records": stored.written,
        "source": history.source,
        **adjustment_in(stored),
        **via(history),
    }
    return member if stored.written else member | {"reason": nothing_new(history, stored)}


def _noted_before(job: Job) -> dict[str, Member]:
    """The results of stocks from earlier attempts, read from the job's events."""
    if job.attempt == 1:
        return {}
    told = job.events.filter(event=JobEvent.Event.PROGRESS).order_by("seq").values_list("payload", flat=True)
    return {one["symbol"]: {name: one[name] for name in _MEMBER if name in one} for one in told if "symbol" in one}


def _end(results: dict[str, Member], requests: int) -> JobResult:
    failed = {symbol: member["error"] for symbol, member in results.items() if not member["success"]}
    cached = [member["reason"] for member in results.values() if member.get("source") == CACHED]
    written = sum(member.get("records", 0) for member in results.values())
    result: dict[str, Any] = {
        "symbols_processed": len(results),
        "successful_symbols": len(results) - len(failed),
        "records_stored": written,
        "requests": requests,
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
