"""Fetches many stocks together: a request for all their quotes, and a chart of each stock without a usable quote."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from django.contrib.auth.models import User
from django.utils import timezone

from market.calendar.sessions import keep_sessions
from market.jobs.fetches.asking import Answer, Question, ask_here, ask_together, ends_attempt, fall_back
from market.jobs.fetches.needless import why_needless
from market.jobs.fetches.parameters import FetchParameters
from market.jobs.fetches.quotes import Quoted, ask_for_quotes
from market.jobs.fetches.storing import fetched, nothing_fetched, store
from market.jobs.limits import share_of
from market.jobs.stale_analyses import request_stale_analyses
from market.models import Stock
from market.sources.base import History
from tasks.models import Job
from tasks.running.handlers import JobError, JobResult, JobSnoozed, Part

ORDINARY = FetchParameters()

Stops = list[JobError | JobSnoozed]
"""Errors after which no further chart is asked for."""


def fetch_stocks(jobs: Sequence[Job]) -> Iterator[Part]:
    """Fetch the stocks of ordinary fetches. No two jobs have the same stock.

    After a failure that concerns every request, such as a source that does not answer, no further chart is asked for.
    """
    reasons = why_needless(jobs, timezone.now())
    needless = [job for job in jobs if job.symbol in reasons]
    if needless:
        yield Part(needless, lambda held: [nothing_fetched(job.symbol, reasons[job.symbol]) for job in held])
    needed = [job for job in jobs if job.symbol not in reasons]
    stocks = list(Stock.objects.filter(symbol__in=[job.symbol for job in needed]))
    quoted = ask_for_quotes(stocks, share_of(jobs[0].queue, min(job.priority for job in jobs)))
    if by_quote := [job for job in needed if job.symbol in quoted.histories]:
        _keep_sessions(quoted.histories)
        yield _stored(by_quote, quoted.histories)
    yield from _fetch_charts([job for job in needed if job.symbol not in quoted.histories], quoted)


def _fetch_charts(jobs: Sequence[Job], quoted: Quoted) -> Iterator[Part]:
    stopped: Stops = []
    not_asked: list[Job] = []

    def questions() -> Iterator[Question]:
        for job in jobs:
            if stopped:
                not_asked.append(job)
            else:
                yield Question(job, job.symbol)

    if len(jobs) == 1:
        yield from _end([ask_here(Question(jobs[0], jobs[0].symbol), ORDINARY)], quoted, stopped)
        return
    for answers in ask_together(questions(), ORDINARY):
        yield from _end(answers, quoted, stopped)
    for job in not_asked:
        yield _failed(Question(job, job.symbol), _not_asked(stopped[0]))


def _end(answers: Iterable[Answer], quoted: Quoted, stopped: Stops) -> Iterator[Part]:
    """The parts of charts that came together: a part with all histories, and a part for each failure."""
    arrived: list[Job] = []
    histories: dict[str, History] = {}
    failures: list[Part] = []
    for question, answer in answers:
        try:
            history = answer.result()
        except (JobError, JobSnoozed) as error:
            if ends_attempt(error):
                stopped.append(error)
            failures.append(_failed(question, error))
        else:
            arrived.append(question.job)
            histories[question.symbol] = quoted.explain(history)
    _keep_sessions(histories)
    if arrived:
        yield _stored(arrived, histories)
    yield from failures


def _keep_sessions(histories: Mapping[str, History]) -> None:
    for exchange in {history.exchange for history in histories.values()}:
        keep_sessions(exchange)


def _stored(jobs: Sequence[Job], histories: Mapping[str, History]) -> Part:
    def write(held: Sequence[Job]) -> list[JobResult]:
        answers = [histories[job.symbol] for job in held]
        stored = store(answers, ORDINARY)
        _request_analyses(held)
        return [fetched(answer, one) for answer, one in zip(answers, stored, strict=True)]

    return Part(jobs, write)


def _request_analyses(jobs: Sequence[Job]) -> None:
    """Request analyses of the stocks, if users wait for the stocks and may read the analyses next."""
    if jobs[0].queue != Job.Queue.FOREGROUND:
        return
    stocks = {stock.symbol: stock for stock in Stock.objects.filter(symbol__in=[job.symbol for job in jobs])}
    of_users: dict[int | None, list[Stock]] = {}
    for job in jobs:
        of_users.setdefault(job.user_id, []).append(stocks[job.symbol])
    users = User.objects.in_bulk([user for user in of_users if user is not None])
    for user, own in of_users.items():
        request_stale_analyses(own, users.get(user) if user is not None else None)


def _failed(question: Question, error: JobError | JobSnoozed) -> Part:
    """The end of a job without an answer: a fallback, or the error."""
    fallback = fall_back(question, ORDINARY, error) if isinstance(error, JobError) else None

    def write(_held: Sequence[Job]) -> list[JobResult]:
        if fallback is None or isinstance(error, JobSnoozed):
            raise error
        error.effect()
        return [nothing_fetched(question.symbol, *fallback)]

    return Part([question.job], write)


def _not_asked(error: JobError | JobSnoozed) -> JobError | JobSnoozed:
    """The error of a job whose request was not sent because of another request's error."""
    if isinstance(error, JobSnoozed):
        return error
    return JobError(f"not asked after an error: {error}", retryable=True)
