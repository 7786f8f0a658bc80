"""Exchange rates. Each is the price of a currency pair, and a pair is a stock: `JPY=X` is yen for a dollar."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Self

from market.currency import major_unit
from market.models import Stock
from market.prices.latest import latest_bar

DOLLAR = "USD"
_CODE = re.compile("[A-Z]{3}", re.ASCII)


def rate_symbol(currency: str) -> str:
    """Yahoo's symbol of the pair: its price is the amount of `currency` for a dollar."""
    return f"{currency}=X"


def rate_symbols(currencies: Iterable[str]) -> list[str]:
    """The symbols of the rates that convert between the currencies; none for a single currency.

    Minor units count as their currency. Names that are no ISO 4217 codes are left out.
    """
    majors = {major_unit(currency).currency for currency in currencies}
    known = {currency for currency in majors if _CODE.fullmatch(currency)}
    return sorted(rate_symbol(currency) for currency in known - {DOLLAR}) if len(known) > 1 else []


@dataclass(frozen=True)
class Rates:
    """The newest trusted rates. `per_dollar`: the amount of each currency for a dollar."""

    per_dollar: Mapping[str, Decimal] = field(default_factory=dict)

    @classmethod
    def between(cls, currencies: Iterable[str]) -> Self:
        """Load the rates between the currencies, in a single query; without a query for a single currency."""
        symbols = rate_symbols(currencies)
        if not symbols:
            return cls()
        newest = latest_bar("close", stock="pk")
        pairs = Stock.objects.filter(symbol__in=symbols).annotate(rate=newest).filter(rate__gt=0)
        return cls(
            {symbol.removesuffix("=X"): Decimal(repr(rate)) for symbol, rate in pairs.values_list("symbol", "rate")}
        )

    def convert(self, amount: Decimal, currency: str, into: str) -> Decimal | None:
        """The amount in another currency; both are major units. None if a rate is not known."""
        if currency == into:
            return amount
        sold, bought = self._per_dollar(currency), self._per_dollar(into)
        return None if sold is None or bought is None else amount * bought / sold

    def _per_dollar(self, currency: str) -> Decimal | None:
        return Decimal(1) if currency == DOLLAR else self.per_dollar.get(currency)
