"""The sum of positions in a single currency, and the shares of each position and currency."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol, Self

from market.models import Stock
from portfolio.currencies import UNKNOWN

SLICES = 10
"""Stocks that an allocation names; the rest are added up."""


class Valued(Protocol):
    """A position; `rate` is the price of a unit of its currency in the currency of the sum, None if not known."""

    @property
    def stock(self) -> Stock: ...
    @property
    def currency(self) -> str: ...
    @property
    def rate(self) -> Decimal | None: ...
    @property
    def value(self) -> Decimal | None: ...
    @property
    def cost(self) -> Decimal | None: ...
    @property
    def day_change(self) -> Decimal | None: ...


@dataclass(frozen=True)
class Slice:
    """A part of the value: `share` is from 0 to 1."""

    label: str
    value: Decimal
    share: float


@dataclass(frozen=True)
class Summary:
    """The sum of the positions with a price and an exchange rate, in `currency`; None if there are none.

    `gain` and `cost` cover the positions with a known cost, and `day_change` the positions with two closes.
    `costless` and `unpriced` count the positions without a cost or a price. `unconverted` names the currencies without
    a rate.
    """

    currency: str
    value: Decimal | None
    cost: Decimal | None
    gain: Decimal | None
    day_change: Decimal | None
    before: Decimal
    """The value at the closes before, of the positions in `day_change`."""
    costless: int
    unpriced: int
    unconverted: Sequence[str]
    by_stock: Sequence[Slice]
    by_currency: Sequence[Slice]

    @classmethod
    def of(cls, positions: Iterable[Valued], currency: str) -> Self:
        """Add the positions up."""
        positions = list(positions)
        priced = [one for one in positions if one.value is not None]
        counted = [one for one in priced if one.rate is not None]
        paid = [one for one in counted if one.cost is not None]
        changed = [one for one in counted if one.day_change is not None]
        value = _sum(counted, lambda one: one.value)
        cost = _sum(paid, lambda one: one.cost)
        day_change = _sum(changed, lambda one: one.day_change)
        return cls(
            currency=currency,
            value=value if counted else None,
            cost=cost if paid else None,
            gain=_sum(paid, lambda one: one.value) - cost if paid else None,
            day_change=day_change if changed else None,
            before=_sum(changed, lambda one: one.value) - day_change,
            costless=len(counted) - len(paid),
            unpriced=len(positions) - len(priced),
            unconverted=sorted({one.currency or UNKNOWN for one in priced if one.rate is None}),
            by_stock=_slices([(one.stock.symbol, _in_base(one)) for one in counted], value),
            by_currency=_slices([(one.currency, _in_base(one)) for one in counted], value),
        )

    @property
    def gain_share(self) -> Decimal | None:
        return self.gain / self.cost if self.gain is not None and self.cost else None

    @property
    def day_share(self) -> Decimal | None:
        return self.day_change / self.before if self.day_change is not None and self.before else None

    @property
    def allocations(self) -> Sequence[tuple[str, Sequence[Slice]]]:
        """The parts of the value by stock and by currency."""
        return [("Stock", self.by_stock), ("Currency", self.by_currency)]


def share_of(position: Valued, total: Decimal | None) -> float | None:
    """The position's share of a value; None for a position that is not in the sum."""
    if not total or position.value is None or position.rate is None:
        return None
    return float(_in_base(position) / total)


def _in_base(position: Valued) -> Decimal:
    return (position.value or Decimal(0)) * (position.rate or Decimal(0))


def _sum(positions: Iterable[Valued], amount: Callable[[Valued], Decimal | None]) -> Decimal:
    return sum(((amount(one) or Decimal(0)) * (one.rate or Decimal(0)) for one in positions), Decimal(0))


def _slices(values: Iterable[tuple[str, Decimal]], total: Decimal) -> list[Slice]:
    """The largest slices by label, and a slice for the rest."""
    added: dict[str, Decimal] = {}
    for label, value in values:
        added[label] = added.get(label, Decimal(0)) + value
    ordered = sorted(added.items(), key=lambda one: one[1], reverse=True)
    if len(ordered) > SLICES + 1:
        others = ordered[SLICES:]
        ordered = [*ordered[:SLICES], (f"{len(others)} others", sum((value for _, value in others), Decimal(0)))]
    return [Slice(label, value, float(value / total)) for label, value in ordered if total]
