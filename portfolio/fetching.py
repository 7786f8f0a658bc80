"""Asks for fresh prices of what people hold."""

from collections.abc import Iterable

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from market.freshness import Freshness
from market.models import Stock
from portfolio.factors import factors_for, note_login
from portfolio.holdings import held_stocks, stale_at, stocks_of
from portfolio.models import FIRST_SCORE, Portfolio, PortfolioPriority
from tasks.models import Job
from tasks.requests import Requested, request_batches, request_fetches


def fetch_stale_holdings(user: User) -> Requested:
    """What a login does: note the day and what the user cares about, and ask for what is stale, the largest first.

    Takes the same number of queries however many holdings there are.
    """
    now = timezone.now()
    with transaction.atomic():
        held = held_stocks(user)  # as fresh as can be: between this and the jobs, another's job may end
        note_login(user, now)
        _track(user, held)
        freshness = Freshness.of(held, now)
        stale = [stock for stock in held if freshness.is_stale(stock)]
        return request_fetches(stale, Job.Trigger.USER_LOGIN, user, factors=factors_for(user, stale, freshness))


def fetch_portfolios(portfolios: Iterable[Portfolio], user: User) -> Requested:
    """Ask for every stock of the portfolios, fresh or not, because `user` said so."""
    stocks = stocks_of(portfolios)
    factors = factors_for(user, stocks, Freshness.of(stocks, timezone.now()))
    return request_fetches(stocks, Job.Trigger.USER_REQUEST, user, factors=factors)


def fetch_scheduled() -> Requested:
    """What a schedule does: ask for every stale stock that an active user holds, in batches."""
    held = Stock.objects.filter(holdings__portfolio__user__is_active=True).distinct()
    return request_batches(stale_at(held, timezone.now()), Job.Trigger.SCHEDULED_UPDATE)


def _track(user: User, held: list[Stock]) -> None:
    """Raise the score of what is held, start it for what is new, and retire what was sold."""
    boost = settings.JOB_PROCESSOR.stock_jobs.portfolio_priority.portfolio_priority_boost
    rows = PortfolioPriority.objects.filter(user=user)
    tracked: dict[int, bool] = dict(rows.values_list("stock", "is_active"))
    rows.filter(stock__in=held).update(priority_score=F("priority_score") + boost, is_active=True)
    if sold := {stock for stock, is_active in tracked.items() if is_active} - {stock.pk for stock in held}:
        rows.filter(stock__in=sold).update(is_active=False)
    PortfolioPriority.objects.bulk_create(
        (
            PortfolioPriority(user=user, stock=stock, priority_score=FIRST_SCORE)
            for stock in held
            if stock.pk not in tracked
        ),
        ignore_conflicts=True,
    )
