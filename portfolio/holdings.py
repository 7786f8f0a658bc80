"""A user's holdings, with their values and their freshness."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import User
from django.db.models import Case, Exists, F, OuterRef, QuerySet, Subquery, Sum, When
from django.db.models.fields.json import KT
from django.db.models.functions import Coalesce
from django.utils import timezone

from market.currency import major_unit
from market.freshness import Freshness
from market.models import PriceBar, Stock
from market.sources import CACHED
from portfolio.models import Holding, Portfolio, PortfolioPriority
from tasks.models import Job


@dataclass(frozen=True)
class Position:
    """A holding as shown on a page; money is in `currency`, None if not known.

    `closed_since`: when the stock's exchange closed, if nothing can have changed since the last check. `error`: why
    the last fetch failed, or fell back to the last good bars.
    """

    holding: int
    """The holding's id."""
    stock: Stock
    shares: Decimal
    currency: str
    cost: Decimal | None
    price: Decimal | None
    price_date: date | None
    is_stale: bool
    closed_since: datetime | None
    is_updating: bool
    error: str

    @property
    def value(self) -> Decimal | None:
        return None if self.price is None else self.price * self.shares

    @property
    def gain(self) -> Decimal | None:
        return None if self.value is None or self.cost is None else self.value - self.cost


@dataclass(frozen=True)
class Total:
    """The positions of a currency, added up; `unpriced` counts the positions without a price, which are left out.

    `gain` covers the positions with a known cost, None without any; `costless` counts the rest.
    """

    currency: str
    value: Decimal
    gain: Decimal | None
    costless: int
    unpriced: int


@dataclass(frozen=True)
class Statement:
    """A portfolio: its positions, the most valuable first, and a total for each currency."""

    portfolio: Portfolio
    positions: Sequence[Position]

    @property
    def totals(self) -> list[Total]:
        currencies = dict.fromkeys(position.currency for position in self.positions if position.price is not None)
        unpriced = sum(position.price is None for position in self.positions)
        return [_total(currency, self.positions, unpriced) for currency in currencies]

    @property
    def is_updating(self) -> bool:
        return any(position.is_updating for position in self.positions)


def _total(currency: str, positions: Iterable[Position], unpriced: int) -> Total:
    priced = [position for position in positions if position.value is not None and position.currency == currency]
    value = sum((position.value for position in priced if position.value is not None), Decimal(0))
    gains = [position.gain for position in priced if position.gain is not None]
    return Total(currency, value, sum(gains, Decimal(0)) if gains else None, len(priced) - len(gains), unpriced)


def statements(user: User) -> list[Statement]:
    """The user's portfolios with all data of their page, in three queries."""
    now = timezone.now()
    fetches = Job.objects.filter(job_type=Job.Type.STOCK_FETCH, symbol=OuterRef("stock__symbol"))
    holdings = (
        Holding.objects.filter(portfolio__user=user)
        .select_related("stock")
        .annotate(
            close=latest_bar("close", stock="stock"),
            close_date=latest_bar("date", stock="stock"),
            updating=Exists(fetches.active()),
            last_error=last_error(fetches),
        )
    )
    positions: dict[int, list[Position]] = {}
    freshness = Freshness.of((holding.stock for holding in holdings), now)
    for holding in holdings:
        unit = major_unit(holding.stock.currency)
        positions.setdefault(holding.portfolio_id, []).append(
            Position(
                holding=holding.pk,
                stock=holding.stock,
                shares=holding.shares,
                currency=unit.currency,
                cost=None if holding.buy_price is None else holding.shares * holding.buy_price / unit.parts,
                price=None if holding.close is None else Decimal(repr(holding.close)) / unit.parts,
                price_date=holding.close_date,
                is_stale=freshness.is_stale(holding.stock),
                closed_since=freshness.closed_since(holding.stock),
                is_updating=holding.updating,
                error=holding.last_error or "",
            )
        )
    return [
        Statement(portfolio, sorted(positions.get(portfolio.pk, []), key=_worth, reverse=True))
        for portfolio in Portfolio.objects.filter(user=user)
    ]


def last_error(fetches: QuerySet[Job]) -> Subquery:
    """Why the newest ended fetch failed, or fell back to the last good bars; or empty."""
    return Subquery(
        fetches.filter(finished_at__isnull=False)
        .order_by("-created_at")
        .annotate(why_old=Case(When(result__source=CACHED, then=KT("result__reason")), default="error"))
        .values("why_old")[:1]
    )


def held_stocks(user: User) -> list[Stock]:
    """The user's stocks, the largest holding first, in a single query.

    A holding's size is its value at the last close, or its cost without a close, or 0 without either. Currencies are
    not converted, which is good enough for an order. Among holdings of the same size, the higher score is first.
    """
    scores = PortfolioPriority.objects.filter(user=user, stock=OuterRef("pk")).values("priority_score")
    held = _with_sizes(Stock.objects.filter(holdings__portfolio__user=user))
    ranked = held.annotate(score=Coalesce(Subquery(scores), 0))
    return sorted(ranked, key=lambda stock: (_size(stock), stock.score), reverse=True)


def stocks_of(portfolios: Iterable[Portfolio]) -> list[Stock]:
    """The stocks of the portfolios, the largest holding first, in a single query."""
    return sorted(_with_sizes(Stock.objects.filter(holdings__portfolio__in=portfolios)), key=_size, reverse=True)


def _with_sizes(stocks: QuerySet[Stock]) -> QuerySet[Any]:
    return stocks.annotate(
        close=latest_bar("close", stock="pk"),
        held=Sum("holdings__shares"),
        cost=Sum(F("holdings__shares") * F("holdings__buy_price")),
    )


def _size(stock: Any) -> float:
    size = float(stock.cost or 0) if stock.close is None else float(stock.held) * stock.close
    return size / major_unit(stock.currency).parts


def latest_bar(field: str, *, stock: str) -> Subquery:
    """A field of a stock's newest trusted bar."""
    return Subquery(PriceBar.objects.trusted().filter(stock=OuterRef(stock)).order_by("-date").values(field)[:1])


def _worth(position: Position) -> Decimal:
    return (position.cost or Decimal(0)) if position.value is None else position.value
