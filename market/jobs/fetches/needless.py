"""Which ordinary fetches are not needed any more when their turn comes."""

from collections.abc import Sequence
from datetime import datetime

from market.freshness import Freshness
from market.jobs.fetches.storing import why_closed
from market.models import Stock
from tasks.models import Job, JobRequest


def why_needless(jobs: Sequence[Job], now: datetime) -> dict[str, str]:
    """Why stocks need not be fetched, by symbol.

    A stock whose market is closed is fetched only if a person requested it, and a fresh stock only if anything but a
    login requested it.
    """
    symbols = [job.symbol for job in jobs]
    stocks = {stock.symbol: stock for stock in Stock.objects.filter(symbol__in=symbols, status=Stock.Status.ACTIVE)}
    if not stocks:
        return {}
    freshness = Freshness.of(stocks.values(), now)
    fresh = {symbol for symbol, stock in stocks.items() if not freshness.is_stale(stock)}
    triggers = _triggers([job for job in jobs if job.symbol in fresh])
    reasons = {}
    for symbol, requested_by in triggers.items():
        if Job.Trigger.USER_REQUEST in requested_by:
            continue
        of_logins = requested_by == {Job.Trigger.USER_LOGIN}
        if reason := why_closed(stocks[symbol], freshness) or ("already fresh" if of_logins else ""):
            reasons[symbol] = reason
    return reasons


def _triggers(jobs: Sequence[Job]) -> dict[str, set[str]]:
    """The triggers of the jobs' requests, by symbol."""
    triggers = {job.symbol: {str(job.trigger)} for job in jobs}
    if jobs:
        requests = JobRequest.objects.filter(job__in=[job.pk for job in jobs]).order_by()
        for symbol, trigger in requests.values_list("job__symbol", "trigger"):
            triggers[symbol].add(trigger)
    return triggers
