"""Runs one job: claim it, do the work without a transaction, then write effect and end together."""

import logging
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from market.sources import fetch_history
from market.sources.base import History, SourceError, SymbolNotFound
from market.store import mark_checked, store_history
from tasks import lifecycle
from tasks.models import Job

logger = logging.getLogger(__name__)


class JobFailed(Exception):
    """The job has ended as failed; the message is its error."""


def run_stock_fetch(job_id: UUID, worker_id: str) -> dict[str, Any] | None:
    """Do a `stock_fetch` job; its result, None when the job is not to be had. JobFailed carries the job's error.

    A worker that lost its claim on the way writes nothing.
    """
    job = lifecycle.claim(job_id, worker_id)
    if job is None:
        logger.info("job %s is not to be had: it runs elsewhere or has ended", job_id)
        return None
    try:
        return _fetch(job)
    except lifecycle.ClaimLost as lost:
        logger.warning("%s was given to another worker; nothing is written", lost)
        return None


def _fetch(job: Job) -> dict[str, Any]:
    try:
        return _store(job, fetch_history(job.symbol, int(job.parameters["days"])))
    except lifecycle.ClaimLost:
        raise
    except SourceError as error:
        with transaction.atomic():
            lifecycle.fail(job, str(error))
            if isinstance(error, SymbolNotFound):
                mark_checked(job.symbol, timezone.now())
        raise JobFailed(str(error)) from error
    except Exception as error:
        logger.exception("job %s failed", job.pk)
        message = f"{type(error).__name__}: {error}"
        lifecycle.fail(job, message)
        raise JobFailed(message) from error


def _store(job: Job, history: History) -> dict[str, Any]:
    with transaction.atomic():
        lifecycle.hold(job)
        stored = store_history(history, timezone.now())
        result: dict[str, Any] = {
            "symbol": job.symbol,
            "source": history.source,
            "records_stored": stored.written,
            "days_fetched": stored.received,
            "latest_before": stored.latest_before and stored.latest_before.isoformat(),
            "latest_after": stored.latest_after.isoformat(),
        }
        outcome = Job.Outcome.UPDATED
        if not stored.written:
            outcome = Job.Outcome.UNCHANGED
            result["reason"] = f"{history.source} has nothing newer than {stored.latest_after}"
        lifecycle.complete(job, outcome, result)
    return result
