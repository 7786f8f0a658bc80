"""The factors of a fetch's priority (`tasks.priority.Factors`), each as a number from 0 to 1.

- `user_activity`: days (UTC) with a login among the last 14, today included, by 14.
- `portfolio_value`: the share of other portfolios with a lower value, for the best portfolio that holds the stock.
- `data_age`: 0 just checked, 0.5 at the freshness limit, 1 at twice the limit and later, or never checked.
- `market_volatility`: of the last 20 daily returns, for a year; 100 % and more is 1.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Exists, Max, OuterRef

from market.currency import major_unit
from market.freshness import Freshness
from market.models import Stock
from market.prices.latest import latest_bar
from market.prices.volatility import volatility_factor
from portfolio.models import Holding, LoginDay, Portfolio
from tasks.priority import Factors

ACTIVITY_DAYS = 14


def factors_for(user: User | None, stocks: Iterable[Stock], freshness: Freshness) -> dict[str, Factors]:
    """The factors of each stock, by symbol, for a request by `user`; None means nobody, as with a schedule.

    Takes two queries, or none without a user, for any number of stocks.
    """
    activity = None if user is None else _activity(user, freshness.now)
    percentiles = {} if user is None else _best_percentiles(user)
    return {
        stock.symbol: Factors(
            user_activity=activity,
            portfolio_value=percentiles.get(stock.pk),
            data_age=age_factor(stock.checked_at, freshness.now, freshness.limit_of(stock)),
            market_volatility=volatility_factor(stock.volatility),
        )
        for stock in stocks
    }


def age_factor(checked_at: datetime | None, now: datetime, limit: timedelta) -> float:
    """0 just checked, 0.5 at the freshness limit, 1 at twice the limit and later, or never checked (None)."""
    if checked_at is None or not limit:
        return 1.0
    return min(1.0, max(0.0, (now - checked_at) / (2 * limit)))


def note_login(user: User, now: datetime) -> None:
    """Count today as a day with a login of the user, in one statement."""
    LoginDay.objects.bulk_create([LoginDay(user=user, date=now.date())], ignore_conflicts=True)


def forget_old_logins(now: datetime) -> int:
    """Delete the days too old for anybody's activity; returns their number."""
    deleted, _by_model = LoginDay.objects.filter(date__lt=_first_day(now)).delete()
    return deleted


def value_portfolios() -> int:
    """Store each portfolio's value and its rank among all; returns the number of portfolios.

    A holding counts at the last close, or at its cost without a close, or not at all. Currencies are not converted,
    which is good enough for an order. The number of queries does not depend on the number of portfolios (on SQLite,
    one more for every 6,500).
    """
    held = Stock.objects.filter(Exists(Holding.objects.filter(stock=OuterRef("pk"))))
    newest = latest_bar("close", stock="pk")
    closes: dict[int, tuple[float | None, int]] = {
        pk: (close, major_unit(currency).parts) for pk, close, currency in held.values_list("pk", newest, "currency")
    }
    worths: dict[int, list[float]] = {}
    for portfolio_id, stock_id, shares, buy_price in Holding.objects.values_list(
        "portfolio_id", "stock_id", "shares", "buy_price"
    ):
        close, parts = closes.get(stock_id, (None, 1))
        price = float(buy_price or 0) if close is None else close
        worths.setdefault(portfolio_id, []).append(float(shares) * price / parts)
    with transaction.atomic():
        # Locked, because the upsert below would bring back a portfolio deleted meanwhile. Unlike bulk_update, the
        # upsert takes time in proportion to the rows.
        portfolios = list(Portfolio.objects.select_for_update(no_key=True).order_by("pk"))
        for portfolio in portfolios:
            portfolio.value = math.fsum(worths.get(portfolio.pk, ()))  # exact, so that equal values tie
        for portfolio, percentile in zip(
            portfolios, percentiles_of([portfolio.value or 0.0 for portfolio in portfolios]), strict=True
        ):
            portfolio.value_percentile = percentile
        Portfolio.objects.bulk_create(
            portfolios, update_conflicts=True, unique_fields=["id"], update_fields=["value", "value_percentile"]
        )
    return len(portfolios)


def percentiles_of(values: Sequence[float]) -> list[float]:
    """For each value the share of the other values that are less, with equal values as half; 0.5 for a lone value."""
    if len(values) == 1:
        return [0.5]
    ordered = sorted(values)
    return [
        # The value itself is among the equal values.
        (bisect_left(ordered, value) + bisect_right(ordered, value) - 1) / 2 / (len(values) - 1)
        for value in values
    ]


def _activity(user: User, now: datetime) -> float:
    days = LoginDay.objects.filter(user=user, date__gte=_first_day(now), date__lte=now.date()).count()
    return days / ACTIVITY_DAYS


def _first_day(now: datetime) -> date:
    return now.date() - timedelta(days=ACTIVITY_DAYS - 1)


def _best_percentiles(user: User) -> dict[int, float | None]:
    """The best percentile of the user's portfolios with the stock, by stock. None before the first valuation."""
    return dict(
        Holding.objects.filter(portfolio__user=user)
        .order_by("stock")
        .values("stock")
        .annotate(best=Max("portfolio__value_percentile"))
        .values_list("stock", "best")
    )
