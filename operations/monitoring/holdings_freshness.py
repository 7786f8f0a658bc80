"""The freshness of held stocks, each counted once, and of portfolios.

The database counts, which is faster than reading thousands of stocks and tens of thousands of holdings.
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
"""The most rows in a list of the worst."""
AGES = tuple(timedelta(minutes=minutes) for minutes in (5, 30, 60, 6 * 60, 24 * 60, 7 * 24 * 60))
"""The ages of stocks' last checks, for a histogram."""


@dataclass(frozen=True)
class StaleStock:
    """A held stock that has to be fetched; `age` is None for a stock never checked."""

    symbol: str
    age: float | None


@dataclass(frozen=True)
class HeldStocks:
    """Held stocks, each counted once; `never` counts the stocks never checked, which `stale` includes.

    `parked` counts the stocks unknown to every source, which nobody fetches. `oldest_age` is the age of the oldest
    check of a stale stock, in seconds; None if no stock ever checked is stale. `checked_within` counts, by the seconds
    of each of AGES, the stocks checked within the age, without parked stocks.
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
    """The fresh part of a portfolio; `share` is 0 to 1."""

    user: str
    portfolio: str
    holdings: int
    fresh: int
    share: float
    portfolio_id: int


@dataclass(frozen=True)
class Coverage:
    """All portfolios with holdings; `worst` lists the least fresh."""

    portfolios: int
    holdings: int
    fresh: int
    worst: Sequence[PortfolioCoverage]


def held_stocks(rule: Freshness) -> QuerySet[Any]:
    """All held stocks, each with its `state` of freshness."""
    return Stock.objects.filter(Exists(Holding.objects.filter(stock=OuterRef("pk")))).annotate(
        state=rule.state_in_sql()
    )


def count_held(rule: Freshness) -> HeldStocks:
    """Count the held stocks by freshness."""
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
    """The share of fresh holdings in each portfolio; parked stocks do not count as fresh."""
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
