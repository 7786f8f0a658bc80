"""How fresh what people hold is: stocks, each counted once, and portfolios.

Counted by the database, which knows thousands of stocks and tens of thousands of holdings faster than they are read.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Count, Exists, F, Min, OuterRef, Q, QuerySet

from market.freshness import FRESH, NEVER, PARKED, STALE, Freshness
from market.models import Stock
from operations.monitoring.ratios import age
from portfolio.models import Holding, Portfolio

WORST = 10
"""Rows of a list that names the worst."""
AGES = tuple(timedelta(minutes=minutes) for minutes in (5, 30, 60, 6 * 60, 24 * 60, 7 * 24 * 60))
"""Of the last check of a stock, for a histogram."""


@dataclass(frozen=True)
class StaleStock:
    """A held stock that has to be fetched; `age` is None when it was never checked."""

    symbol: str
    age: float | None


@dataclass(frozen=True)
class HeldStocks:
    """Held stocks, each counted once; `never` are those never checked, which are stale as well.

    `parked` are those that no source knows any more, and nobody asks for. `oldest_age` is how long the check of the
    longest stale one is ago, in seconds; None where no stock that was ever checked is stale. `checked_within` is how
    many of those that are not parked were checked within each of AGES, by its seconds.
    """

    fresh: int
    stale: int
    never: int
    parked: int
    oldest_age: float | None
    checked_within: Mapping[int, int]
    worst: Sequence[StaleStock]

    @property
    def all(self) -> int:
        return self.fresh + self.stale + self.parked


@dataclass(frozen=True)
class PortfolioCoverage:
    """How much of a portfolio is fresh; `share` is 0 to 1."""

    user: str
    portfolio: str
    holdings: int
    fresh: int
    share: float
    portfolio_id: int


@dataclass(frozen=True)
class Coverage:
    """All portfolios that hold something; `worst` are the least fresh."""

    portfolios: int
    holdings: int
    fresh: int
    worst: Sequence[PortfolioCoverage]


def held_stocks(rule: Freshness) -> QuerySet[Any]:
    """The stocks that somebody holds, each with its `state` of freshness."""
    return Stock.objects.filter(Exists(Holding.objects.filter(stock=OuterRef("pk")))).annotate(
        state=rule.state_in_sql()
    )


def count_held(rule: Freshness) -> HeldStocks:
    """How fresh the stocks are that somebody holds."""
    within = {f"within_{number}": Q(checked_at__gt=rule.now - limit) for number, limit in enumerate(AGES)}
    rows = (
        held_stocks(rule)
        .order_by()
        .values_list("state")
        .annotate(
            stocks=Count("pk"),
            oldest=Min("checked_at"),
            **{name: Count("pk", filter=one) for name, one in within.items()},
        )
    )
    found = {state: (stocks, oldest, counts) for state, stocks, oldest, *counts in rows}
    stocks = Counter({state: count for state, (count, *_) in found.items()})
    checked = [counts for state, (*_, counts) in found.items() if state != PARKED]
    return HeldStocks(
        fresh=stocks[FRESH],
        stale=stocks[STALE] + stocks[NEVER],
        never=stocks[NEVER],
        parked=stocks[PARKED],
        oldest_age=age(found[STALE][1], rule.now) if STALE in found else None,
        checked_within={
            int(limit.total_seconds()): sum(counts[number] for counts in checked) for number, limit in enumerate(AGES)
        },
        worst=_stalest(rule),
    )


def _stalest(rule: Freshness) -> list[StaleStock]:
    stale = held_stocks(rule).filter(state__in=(NEVER, STALE))
    rows = stale.order_by(F("checked_at").asc(nulls_first=True), "symbol").values_list("symbol", "checked_at")
    return [StaleStock(symbol, age(checked_at, rule.now)) for symbol, checked_at in rows[:WORST]]


def coverage_of(rule: Freshness) -> Coverage:
    """The share of each portfolio's holdings that are fresh, which parked ones are not."""
    are_fresh = Stock.objects.annotate(state=rule.state_in_sql()).filter(state=FRESH).order_by().values("pk")
    found = list(
        Holding.objects.order_by()
        .values_list("portfolio")
        .annotate(holdings=Count("pk"), fresh=Count("pk", filter=Q(stock__in=are_fresh)))
    )
    worst = sorted(found, key=lambda one: (one[2] / one[1], -one[1], one[0]))[:WORST]
    names = Portfolio.objects.select_related("user").in_bulk([portfolio for portfolio, *_ in worst])
    rows = [
        PortfolioCoverage(
            user=names[portfolio].user.get_username(),
            portfolio=names[portfolio].name,
            holdings=holdings,
            fresh=fresh,
            share=round(fresh / holdings, 4),
            portfolio_id=portfolio,
        )
        for portfolio, holdings, fresh in worst
        if portfolio in names
    ]
    return Coverage(len(found), sum(holdings for _, holdings, _ in found), sum(fresh for *_, fresh in found), rows)
