"""The Celery tasks about portfolios."""

from celery import Task, shared_task
from django.utils import timezone

from portfolio import factors, mails
from portfolio.fetching import fetch_scheduled
from portfolio.schedules.settling import fetch_settle
from portfolio.schedules.warming import fetch_warm, keep_ready
from tasks.upkeep.schedule_slots import run_once_a_slot


@shared_task(name="stockqueue.scheduled_portfolio_update", bind=True)
def scheduled_portfolio_update(task: Task) -> str:
    """Request fetches of stale stocks in the portfolios of active users, once for each slot of the schedule."""
    return run_once_a_slot(task.request, fetch_scheduled)


@shared_task(name="stockqueue.warm", bind=True)
def warm(task: Task) -> str:
    """Request batches of the stocks that go stale soon, once for each slot of the schedule.

    Also keeps the source ready for quotes, so that the first login of the day waits for no crumb.
    """
    requested = run_once_a_slot(task.request, fetch_warm)
    keep_ready()
    return requested


@shared_task(name="stockqueue.settle", bind=True)
def settle(task: Task) -> str:
    """Request the charts that are due, once for each slot of the schedule."""
    return run_once_a_slot(task.request, fetch_settle)


@shared_task(name="stockqueue.value_portfolios", ignore_result=True)
def value_portfolios() -> None:
    """Value all portfolios again, and delete logins too old to count. Idempotent."""
    factors.value_portfolios()
    factors.forget_old_logins(timezone.now())


@shared_task(name=mails.TASK, ignore_result=True)
def send_mails() -> int:
    """Send the mails to users that are due."""
    return mails.send_mails()
