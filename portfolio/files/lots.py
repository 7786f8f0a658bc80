"""Adds up purchases and sales of a stock at their average cost."""

from dataclasses import dataclass
from decimal import Decimal

from portfolio.files.numbers import round_number


@dataclass
class Lots:
    """Shares of a stock. `average`: the cost of a share; None after a purchase without a price."""

    shares: Decimal = Decimal(0)
    average: Decimal | None = None

    def buy(self, shares: Decimal, price: Decimal | None) -> None:
        if not self.shares:
            self.average = price
        elif price is None or self.average is None:
            self.average = None
        else:
            self.average = (self.shares * self.average + shares * price) / (self.shares + shares)
        self.shares += shares

    def sell(self, shares: Decimal) -> Decimal:
        """Sell shares at an unchanged average. Returns the shares that were never bought, rounding errors aside."""
        left = round_number(self.shares - shares)
        self.shares = self.shares - shares if left > 0 else Decimal(0)
        return max(-left, Decimal(0))

    def split(self, shares: Decimal) -> None:
        """Hold another number of shares at the same total cost."""
        if self.average is not None and shares:
            self.average = self.average * self.shares / shares
        self.shares = shares

    @property
    def price(self) -> Decimal | None:
        """The average, to eight decimals."""
        return None if self.average is None else round_number(self.average)
