"""Asks the sources for the histories of stocks, one request for each stock, a few requests at a time."""

import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from datetime import datetime
from functools import cache, partial
from queue import Empty, SimpleQueue
from threading import Semaphore
from typing import NamedTuple

from django.conf import settings
from django.db import connection
from django.utils import timezone

from market.jobs.fetches.parameters import FetchParameters
from market.jobs.sources import ask_source
from market.prices.store import note_miss, note_no_bars
from market.renames import find_new_symbol
from market.sources import CACHED, fetch_history, last_good_day
from market.sources.base import History, MalformedAnswer, NoBars, SourceError, SymbolNotFound
from market.sources.concurrency import taking
from tasks.models import Job
from tasks.running.handlers import JobError, JobSnoozed
from tasks.running.retries import retries_left

logger = logging.getLogger(__name__)

TOGETHER = 0.1
"""Seconds that an answer waits for other answers, so that one transaction stores all."""
READERS = 2
"""Threads beyond the number of concurrent requests."""
UNDER_WAY = 3
"""Stocks in flight for each concurrent request, so that no thread waits while answers are stored."""


class Question(NamedTuple):
    """A request for the history of a stock, at the expense of a job."""

    job: Job
    symbol: str


_NOTES = {SymbolNotFound: note_miss, NoBars: note_no_bars}
"""What to record when the sources have no bars of a stock."""

Answer = tuple[Question, "Future[History]"]
"""A question with a future: a history from the sources, or JobError, or JobSnoozed."""


def concurrency() -> int:
    """The most concurrent requests of a process."""
    return int(settings.JOB_PROCESSOR.stock_jobs.data_fetch.concurrency)


def ask(question: Question, parameters: FetchParameters) -> History:
    """A stock's history from the sources; source errors become JobError. An unknown symbol counts as checked.

    JobSnoozed if no source is available now.
    """
    job, symbol = question
    first = parameters.first_day(timezone.now().date())
    try:
        return ask_source(job, lambda: fetch_history(symbol, first, parameters.end))
    except SourceError as error:
        if parameters.start is None and (note := _NOTES.get(type(error))):  # a range may end before the first bar
            now = timezone.now()
            raise JobError(str(error), effect=partial(note, symbol, now, _new_symbol(question, error, now))) from error
        raise JobError(str(error), retryable=error.retryable) from error


def _new_symbol(question: Question, error: SourceError, now: datetime) -> str | None:
    """`find_new_symbol`; None if the source does not answer, because the search can wait for the next fetch."""
    try:
        return ask_source(
            question.job,
            lambda: find_new_symbol(question.symbol, now.date(), is_unknown=isinstance(error, SymbolNotFound)),
        )
    except (SourceError, JobError, JobSnoozed) as failure:
        logger.info("no search for a new symbol of %s: %s", question.symbol, failure)
        return None


def ask_here(question: Question, parameters: FetchParameters) -> Answer:
    """Ask for a single stock, in this thread."""
    answer: Future[History] = Future()
    try:
        answer.set_result(ask(question, parameters))
    except (JobError, JobSnoozed) as error:
        answer.set_exception(error)
    return question, answer


def ask_together(questions: Iterable[Question], parameters: FetchParameters) -> Iterator[list[Answer]]:
    """Ask for several stocks, as many at a time as configured; yields answers as they arrive."""
    at_once = concurrency()
    under_way: dict[Future[History], Question] = {}
    ended: SimpleQueue[Future[History]] = SimpleQueue()
    try:
        for question in questions:
            asked = _threads(at_once).submit(_ask_in_thread, question, parameters, _turns(at_once))
            under_way[asked] = question
            asked.add_done_callback(ended.put)
            while len(under_way) >= UNDER_WAY * at_once:
                yield _take_ended(under_way, ended)
        while under_way:
            yield _take_ended(under_way, ended)
    finally:
        for answer in under_way:
            answer.cancel()


def ends_attempt(error: Exception) -> bool:
    """Whether an error makes other requests likely to fail as well, so that they are not sent."""
    if isinstance(error, JobError):
        return error.retryable and not isinstance(error.__cause__, MalformedAnswer)
    return isinstance(error, JobSnoozed)


class Fallback(NamedTuple):
    """A job ends well without an answer: the reason, and the source of the bars that stay."""

    reason: str
    source: str


def fall_back(question: Question, parameters: FetchParameters, failure: JobError) -> Fallback | None:
    """What stands for the answer, if no attempt will follow; None if the job fails.

    A source that knows the stock and has no bars has answered. Otherwise the last good bars are shown, if any are
    stored; the stock does not count as checked then, and stays stale. An unknown symbol has no fallback, and neither
    has a range of days.
    """
    if parameters.start is not None or isinstance(failure.__cause__, SymbolNotFound):
        return None
    if isinstance(failure.__cause__, NoBars):
        return Fallback(str(failure), "")
    if failure.retryable and retries_left(question.job):
        return None
    day = last_good_day(question.symbol)
    return Fallback(f"{failure}; the last good bars, of {day}, are shown", CACHED) if day else None


def _take_ended(under_way: dict["Future[History]", Question], ended: "SimpleQueue[Future[History]]") -> list[Answer]:
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


def _ask_in_thread(question: Question, parameters: FetchParameters, turns: Semaphore) -> History:
    try:
        with taking(turns):
            return ask(question, parameters)
    finally:
        connection.close()  # counting a request opened a connection, not needed again soon
