"""Stores the answers of sources, and puts the changes into the results of jobs."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from django.utils import timezone

from market.exchange_rates import DOLLAR, rate_symbols
from market.freshness import Freshness
from market.jobs.backfill import Mode
from market.jobs.fetches.parameters import FetchParameters
from market.jobs.requests import request_fetches
from market.models import Stock
from market.prices.store import Stored, store_histories
from market.sources.base import History
from tasks.models import Job
from tasks.running.handlers import JobResult


def store(histories: Sequence[History], parameters: FetchParameters) -> list[Stored]:
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
    _request_rates(history for history, one in zip(histories, stored, strict=True) if one.latest_before is None)
    return stored


def _request_rates(first_answers: Iterable[History]) -> None:
    """Enqueue the exchange rates of the currencies that are now in use, unless they were fetched before."""
    symbols = rate_symbols({DOLLAR, *(history.currency for history in first_answers)})
    if symbols:
        rates = Stock.objects.find_or_create(symbols)
        request_fetches([rate for rate in rates if rate.checked_at is None], Job.Trigger.SCHEDULED_UPDATE)


def fetched(history: History, stored: Stored) -> JobResult:
    """The result of the job for an answer that was stored."""
    result: dict[str, Any] = {
        "symbol": history.symbol,
        "source": history.source,
        "records_stored": stored.written,
        "days_fetched": stored.received,
        "latest_before": stored.latest_before and stored.latest_before.isoformat(),
        "latest_after": stored.latest_after.isoformat(),
        **adjustment_in(stored),
        **via(history),
    }
    if stored.written:
        return JobResult(Job.Outcome.UPDATED, result)
    return JobResult(Job.Outcome.UNCHANGED, result | {"reason": nothing_new(history, stored)})


def nothing_fetched(symbol: str, reason: str, source: str = "") -> JobResult:
    """The result of a job that got no answer from a source, and needs none."""
    result = {"symbol": symbol, "source": source, "records_stored": 0, "days_fetched": 0, "reason": reason}
    return JobResult(Job.Outcome.UNCHANGED, result)


def adjustment_in(stored: Stored) -> dict[str, str]:
    """The part of a result about an adjusted history."""
    return {"adjusted": f"fetched again from {stored.outdated_from}"} if stored.outdated_from else {}


def via(history: History) -> dict[str, str]:
    """The part of a result about the kind of answer: a quote or a chart, and why."""
    return {"via": "quote" if history.is_quote else "chart", "via_reason": history.reason}


def nothing_new(history: History, stored: Stored) -> str:
    """Why an answer changed nothing."""
    return f"{history.source} has nothing newer than {stored.latest_after}"


def why_closed(stock: Any, freshness: Freshness) -> str:
    """Why a stock cannot have changed since its last check; else empty."""
    closed_since: datetime | None = freshness.closed_since(stock)
    return f"market closed since {closed_since:%Y-%m-%d %H:%M} UTC" if closed_since else ""
