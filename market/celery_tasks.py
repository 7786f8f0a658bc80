"""The Celery tasks of market data that run no job."""

from celery import Task, shared_task

from market import splits, symbol_search
from market.jobs.watchlist import fetch_watchlist
from tasks.upkeep.schedule_slots import run_once_a_slot


@shared_task(name="stockqueue.market_data", bind=True)
def market_data(task: Task) -> str:
    """Request fetches of the watchlist's stale stocks, once for each slot of the schedule."""
    return run_once_a_slot(task.request, fetch_watchlist)


@shared_task(name=symbol_search.TASK, ignore_result=True)
def search_symbols(query: str) -> None:
    """Search for symbols at a source, and put the answer into the cache."""
    symbol_search.search_source(query)


@shared_task(name=splits.TASK, ignore_result=True)
def follow_splits() -> None:
    """Adjust what people hold to new splits."""
    splits.follow_splits()
