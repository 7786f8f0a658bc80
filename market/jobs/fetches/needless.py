"""Which ordinary fetches are not needed any more when their turn comes."""

from collections.abc import Sequence
from datetime import datetime

from market.freshness import Freshness
from market.jobs.fetches.storing import why_closed
from market.models import Stock
from tasks.models import Job, JobRequest


def why_needless(jobs: Sequence[Job], now: datetime) -> dict[str, str]:
    """Why stocks need not be fetched, by symbol: the market is closed, or the stock is fresh and only logins asked."""
    symbols = [job.symbol for job in jobs]
    stocks = {stock.symbol: stock for stock in Stock.objects.filter(symbol__in=symbols, status=Stock.Status.ACTIVE)}
    if not stocks:
        return {}
    freshness = Freshness.of(stocks.values(), now)
    fresh = {symbol for symbol, stock in stocks.items() if not freshness.is_stale(stock)}
    of_logins = _of_logins([job for job in jobs if job.symbol in fresh])
    reasons = {}
    for symbol, stock in stocks.items():
        if reason := why_closed(stock, freshness) or ("already fresh" if symbol in of_logins else ""):
            reasons[symbol] = reason
    return reasons


def _of_logins(jobs: Sequence[Job]) -> set[str]:
    """The symbols of the jobs that only logins requested."""
    asked = {job.pk: job.symbol for job in jobs if job.trigger == Job.Trigger.USER_LOGIN}
    if not asked:
        return set()
    others = JobRequest.objects.filter(job__in=asked).exclude(trigger=Job.Trigger.USER_LOGIN)
    return set(asked.values()) - {asked[job_id] for job_id in others.values_list("job_id", flat=True)}
