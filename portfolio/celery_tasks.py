"""The Celery tasks about portfolios."""

from celery import shared_task
from django.utils import timezone

from portfolio import factors


@shared_task(name="stockqueue.value_portfolios", ignore_result=True)
def value_portfolios() -> None:
    """Value all portfolios again, and forget logins that do not count any more. Beat sends it every hour."""
    factors.value_portfolios()
    factors.forget_old_logins(timezone.now())
