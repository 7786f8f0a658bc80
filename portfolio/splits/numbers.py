"""The numbers of a holding after a split."""

from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal, localcontext
from typing import NamedTuple

from market.models import StockSplit

UNIT = Decimal("0.00000001")
LIMIT = Decimal(10**14)
"""Numbers of holdings are less."""
_DIGITS = 50
"""More than any number of a holding times a term of a split."""


class Numbers(NamedTuple):
    """The shares of a holding and the price paid for a share; None if unknown."""

    shares: Decimal
    price: Decimal | None


def adjust(before: Numbers, split: StockSplit) -> Numbers | None:
    """The numbers after a split, with eight decimals; None if they would be too small or too large to store."""
    with localcontext(prec=_DIGITS):
        shares = _rounded(before.shares * split.numerator / split.denominator, ROUND_DOWN)
        price = before.price
        if price is not None:
            price = _rounded(price * split.denominator / split.numerator, ROUND_HALF_EVEN)
    fits = 0 < shares < LIMIT and (price is None or price < LIMIT)
    return Numbers(shares, price) if fits else None


def _rounded(number: Decimal, rounding: str) -> Decimal:
    return number.quantize(UNIT, rounding)
