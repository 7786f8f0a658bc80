"""A user's holdings, with their values and their freshness."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import User
from django.db.models import F, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce
from django.utils import timezone

from market.currency import major_unit
from market.exchange_rates import Rates
from market.freshness import Freshness
from market.models import Stock
from market.prices.latest import latest_bar
from portfolio.badges import Badge, Fetch, badge_of, newest_fetch
from portfolio.models import Holding, Portfolio, PortfolioPriority, Preferences
from portfolio.summary import Summary, share_of


@dataclass(frozen=True)
class Position:
    """A holding as shown on a page; money is in `currency`, None if not known.

    `previous`: the close before the newest one. `rate`: the price of a unit of the currency in the base currency, at
    the newest exchange rate. `due_at`: when the next price is due. `weight`: the share of the portfolio's value.
    """

    holding: int
    """The holding's id."""
    stock: Stock
    shares: Decimal
    currency: str
    cost: Decimal | None
    price: Decimal | None
    previous: Decimal | None
    price_date: date | None
    rate: Decimal | None
    due_at: datetime | None
    badge: Badge
    fetch: Fetch | None
    weight: float | None = None

    @property
    def value(self) -> Decimal | None:
        return None if self.price is None else self.price * self.shares

    @property
    def gain(self) -> Decimal | None:
        return None if self.value is None or self.cost is None else self.value - self.cost

    @property
    def gain_share(self) -> Decimal | None:
        """The gain by the cost; None without a cost."""
        return None if self.gain is None or not self.cost else self.gain / self.cost

    @property
    def day_change(self) -> Decimal | None:
        """The change of the value between the last two closes."""
        return None if self.price is None or self.previous is None else (self.price - self.previous) * self.shares

    @property
    def day_share(self) -> Decimal | None:
        """The change between the last two closes by the earlier close."""
        return self.price / self.previous - 1 if self.price is not None and self.previous else None

    @property
    def error(self) -> str:
        """Why the newest fetch failed, or fell back to the last good bars."""
        return self.fetch.error if self.fetch else ""


@dataclass(frozen=True)
class Statement:
    """A portfolio with its positions, and their sum in the user's base currency."""

    portfolio: Portfolio
    positions: Sequence[Position]
    summary: Summary

    @property
    def next_update(self) -> datetime | None:
        """The time of the first next price; None if a price is due already, or if no time is known."""
        due = [position.due_at for position in self.positions if position.due_at is not None]
        return first if due and (first := min(due)) > timezone.now() else None


SORTS: Mapping[str, Callable[[Position], Any]] = {
    "stock": lambda position: position.stock.symbol,
    "value": lambda position: (position.rate or 1) * (_size_of(position)),
    "day": lambda position: _known_first(position.day_share),
    "gain": lambda position: _known_first(position.gain_share),
}
"""The orders of positions, by name. Except for the symbols, the largest is first."""
BY_VALUE = "value"

Values = Mapping[int, Decimal]
"""The value of portfolios in the base currency, by their ids."""


def statements(
    user: User, sort: str = BY_VALUE, *, symbols: Collection[str] | None = None, values: Values | None = None
) -> list[Statement]:
    """The user's portfolios with all data of their page, in five queries at most. `sort` is a name of SORTS.

    With `symbols`, only the positions of these stocks, with their shares of `values`.
    """
    now = timezone.now()
    portfolios = list(Portfolio.objects.filter(user=user).select_related("user__preferences"))
    currency = _preferences(user, portfolios).currency
    holdings = list(
        Holding.objects.filter(Q() if symbols is None else Q(stock__symbol__in=symbols), portfolio__user=user)
        .select_related("stock")
        .annotate(
            close=latest_bar("close", stock="stock"),
            previous=latest_bar("close", stock="stock", place=1),
            close_date=latest_bar("date", stock="stock"),
            fetch=newest_fetch("stock__symbol"),
        )
    )
    freshness = Freshness.of((holding.stock for holding in holdings), now)
    rates = Rates.between({currency, *(holding.stock.currency for holding in holdings if holding.stock.currency)})
    positions: dict[int, list[Position]] = {}
    for holding in holdings:
        positions.setdefault(holding.portfolio_id, []).append(_position(holding, freshness, rates, currency))
    return [
        _statement(one, positions.get(one.pk, []), currency, sort, (values or {}).get(one.pk)) for one in portfolios
    ]


def fetches_in(shown: Iterable[Statement]) -> list[Fetch]:
    """The newest ordinary fetch of each stock."""
    fetches = {one.stock.pk: one.fetch for statement in shown for one in statement.positions if one.fetch}
    return list(fetches.values())


def _preferences(user: User, portfolios: Sequence[Portfolio]) -> Preferences:
    """The preferences that are loaded with the portfolios, kept at the user for the rest of the request."""
    if portfolios:
        user.preferences = Preferences.of(portfolios[0].user)
    return Preferences.of(user)


def _position(holding: Any, freshness: Freshness, rates: Rates, base: str) -> Position:
    stock: Stock = holding.stock
    unit = major_unit(stock.currency)
    fetch = Fetch.read(holding.fetch)
    return Position(
        holding=holding.pk,
        stock=stock,
        shares=holding.shares,
        currency=unit.currency,
        cost=None if holding.buy_price is None else holding.shares * holding.buy_price / unit.parts,
        price=_price(holding.close, unit.parts),
        previous=_price(holding.previous, unit.parts),
        price_date=holding.close_date,
        rate=rates.convert(Decimal(1), unit.currency, base),
        due_at=freshness.due_at(stock),
        badge=badge_of(stock, holding.close_date, fetch, freshness),
        fetch=fetch,
    )


def _price(close: float | None, parts: int) -> Decimal | None:
    return None if close is None else Decimal(repr(close)) / parts


def _statement(
    portfolio: Portfolio, positions: Iterable[Position], currency: str, sort: str, value: Decimal | None
) -> Statement:
    """The statement of a portfolio. `value`: that of all its positions, if `positions` are a part of them."""
    ordered = sorted(positions, key=SORTS[sort], reverse=sort != "stock")
    summary = Summary.of(ordered, currency)
    weighed = [replace(one, weight=share_of(one, value or summary.value)) for one in ordered]
    return Statement(portfolio, weighed, summary)


def _known_first(share: Decimal | None) -> tuple[bool, Decimal]:
    return (share is not None, share or Decimal(0))


def _size_of(position: Position) -> Decimal:
    return (position.cost or Decimal(0)) if position.value is None else position.value


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
