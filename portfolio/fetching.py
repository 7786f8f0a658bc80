"""Enqueues fetches of held stocks."""

from collections.abc import Iterable, Sequence

from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.sessions.backends.base import SessionBase
from django.db import connection, transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from market.freshness import FRESH, NEVER, STALE, Freshness, stale_at
from market.jobs.requests import request_batches, request_fetches
from market.jobs.stale_analyses import request_stale_analyses
from market.models import Stock
from portfolio.factors import factors_for, note_login
from portfolio.holdings import held_stocks, stocks_of
from portfolio.models import FIRST_SCORE, Holding, Login, Portfolio, PortfolioPriority
from portfolio.references import rates_for
from portfolio.visit import remember_login
from tasks.enqueue import EnqueueResult
from tasks.models import Job

FETCHED_AT_ONCE = 500
"""New stocks that an owner's import or form fetches ahead of everything else. A file may have thousands."""

_HOLDINGS, _PORTFOLIOS = Holding._meta.db_table, Portfolio._meta.db_table
_PRIORITIES = PortfolioPriority._meta.db_table


def fetch_stale_holdings(user: User, session: SessionBase | None = None) -> EnqueueResult:
    """Handle a login: record the login and the user's interest, and enqueue the stale stocks, the largest first.

    Stale exchange rates between the currencies of the holdings and the totals come after the stocks. Fresh stocks are
    analysed, if due; the remaining stocks are analysed after their fetch. The session, if given, remembers how many
    prices were ready. The number of queries does not depend on the number of holdings.
    """
    now = timezone.now()
    with transaction.atomic():
        held = held_stocks(user)  # read late: another job may end between the query and the new jobs
        note_login(user, now)
        _track(user)
        freshness = Freshness.of(held, now)
        states = [(stock, freshness.state_of(stock)) for stock in held]
        stale = [stock for stock, state in states if state in (STALE, NEVER)]
        rates = stale_at(rates_for(held, user), now)
        fresh = [stock for stock, state in states if state == FRESH]
        if stale or fresh:
            Login.objects.create(at=now, stocks=len(stale) + len(fresh), stale=len(stale))
        if session is not None:
            remember_login(session, now, len(stale) + len(fresh), len(stale))
        factors = factors_for(user, held, freshness)
        requested = request_fetches([*stale, *rates], Job.Trigger.USER_LOGIN, user, factors=factors)
        request_stale_analyses(fresh, user, factors=factors)
        return requested


def fetch_portfolios(portfolios: Iterable[Portfolio], user: User) -> EnqueueResult:
    """Enqueue a fetch of every stock of the portfolios, fresh or not, at the request of `user`."""
    return fetch_stocks(stocks_of(portfolios), user)


def fetch_stocks(stocks: Sequence[Stock], user: User) -> EnqueueResult:
    """Enqueue a fetch of the stocks, fresh or not, at the request of `user`."""
    factors = factors_for(user, stocks, Freshness.of(stocks, timezone.now()))
    return request_fetches(stocks, Job.Trigger.USER_REQUEST, user, factors=factors)


def fetch_new_stocks(stocks: Sequence[Stock], user: User) -> int:
    """Enqueue a fetch of the first FETCHED_AT_ONCE of the stocks that were never fetched, at the request of `user`.

    Returns the number of the others. The schedule "Warm" fetches them, within the background's share.
    """
    freshness = Freshness.of(stocks, timezone.now())
    new = [stock for stock in stocks if freshness.state_of(stock) == NEVER]
    fetch_stocks(new[:FETCHED_AT_ONCE], user)
    return len(new[FETCHED_AT_ONCE:])


def fetch_scheduled() -> EnqueueResult:
    """Enqueue batches of every stale stock that an active user holds, for a schedule."""
    held = Stock.objects.filter(holdings__portfolio__user__is_active=True).distinct()
    return request_batches(stale_at(held, timezone.now()), Job.Trigger.SCHEDULED_UPDATE)


def _track(user: User) -> None:
    """Create or raise the scores of the user's stocks, and deactivate the scores of sold stocks.

    In SQL, because Django's upsert cannot add to a stored value.
    """
    boost = settings.JOB_PROCESSOR.stock_jobs.portfolio_priority.portfolio_priority_boost
    with connection.cursor() as cursor:
        cursor.execute(
            f'''INSERT INTO "{_PRIORITIES}" ("user_id", "stock_id", "priority_score", "is_active")
            SELECT DISTINCT "user_id", "stock_id", {FIRST_SCORE}, TRUE
            FROM "{_HOLDINGS}" JOIN "{_PORTFOLIOS}" ON "{_PORTFOLIOS}"."id" = "portfolio_id"
            WHERE "user_id" = %s ORDER BY "stock_id"
            ON CONFLICT ("user_id", "stock_id")
            DO UPDATE SET "priority_score" = "{_PRIORITIES}"."priority_score" + %s, "is_active" = TRUE''',  # noqa: S608
            [user.pk, boost],
        )
    held = Holding.objects.filter(portfolio__user=user, stock=OuterRef("stock"))
    PortfolioPriority.objects.filter(~Exists(held), user=user, is_active=True).update(is_active=False)
