"""Asks for fresh prices of what people hold."""

from collections.abc import Iterable

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from market.models import Stock
from portfolio.holdings import held_stocks, stale_at, stocks_of
from portfolio.models import FIRST_SCORE, Portfolio, PortfolioPriority
from tasks.models import Job
from tasks.requests import Requested, request_fetches


def fetch_stale_holdings(user: User) -> Requested:
    """What a login does: note what the user cares about, and ask for what is stale, the largest holding first.

    Takes the same number of queries however many holdings there are.
    """
    held = held_stocks(user)
    with transaction.atomic():
        _track(user, held)
        return request_fetches(stale_at(held, timezone.now()), Job.Trigger.USER_LOGIN, user)


def fetch_portfolios(portfolios: Iterable[Portfolio], user: User) -> Requested:
    """Ask for every stock of the portfolios, fresh or not, because `user` said so."""
    return request_fetches(stocks_of(portfolios), Job.Trigger.USER_REQUEST, user)


def fetch_scheduled() -> Requested:
    """What the schedule does: ask for every stale stock that an active user holds."""
    held = Stock.objects.filter(holdings__portfolio__user__is_active=True).distinct()
    return request_fetches(stale_at(held, timezone.now()), Job.Trigger.SCHEDULED_UPDATE)


def _track(user: User, held: list[Stock]) -> None:
    """Raise the score of what is held, start it for what is new, and retire what was sold."""
    boost = settings.JOB_PROCESSOR.stock_jobs.portfolio_priority.portfolio_priority_boost
    rows = PortfolioPriority.objects.filter(user=user)
    rows.filter(stock__in=held).update(priority_score=F("priority_score") + boost, is_active=True)
    rows.exclude(stock__in=held).update(is_active=False)
    PortfolioPriority.objects.bulk_create(
        (PortfolioPriority(user=user, stock=stock, priority_score=FIRST_SCORE) for stock in held),
        ignore_conflicts=True,
    )
