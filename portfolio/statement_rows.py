"""A line of a CSV file about a portfolio: the numbers, the symbol, and whether the line names a stock at all."""

import re
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation

from market.symbols import InvalidSymbol, number_kind, parse_symbol

LARGEST = Decimal(10**12)
PLACES = Decimal("0.00000001")
"""Numbers are kept to eight decimals, as coins are divided."""

# Texts of several words are no symbols, so leaving out sums and cash loses no stock: "Account Total".
_TOTAL = re.compile(r"(.*\s)?(sub-?)?totals?(\s.*)?:?", re.IGNORECASE)
_CASH = re.compile(r"(.*\s)?cash(:|\s.*)|.*\scash", re.IGNORECASE)

Lines = list[tuple[int, str]]
"""Texts about lines of a file, each with the number of the line."""


@dataclass(frozen=True)
class Position:
    """Shares of a stock, and their average cost: None without a price. `line` is the line in the file."""

    symbol: str
    shares: Decimal
    buy_price: Decimal | None
    line: int


def show_number(number: Decimal) -> str:
    """`1000.5`: without zeros at the end."""
    return f"{number.normalize():f}"


@dataclass(frozen=True)
class Row:
    """A line of the file; `problems` collects its errors."""

    line: int
    values: dict[str, str]
    problems: Lines

    def complain(self, what: str) -> None:
        self.problems.append((self.line, what))

    def has_problems(self) -> bool:
        return bool(self.problems) and self.problems[-1][0] == self.line

    def text(self, column: str) -> str:
        return self.values[column].strip()

    def symbol(self, column: str) -> str:
        try:
            symbol = parse_symbol(self.values[column])
        except InvalidSymbol as error:
            self.complain(str(error))
            return ""
        if kind := number_kind(symbol):
            self.complain(f"{symbol} is {kind}, not a symbol; write the symbol, such as AAPL")
        return symbol

    def number(self, column: str) -> Decimal | None:
        """An amount of 0 or more; None for an empty cell, or for a wrong cell, which becomes a problem."""
        text = self.text(column)
        if not text:
            return None
        try:
            number = Decimal(text)
        except InvalidOperation:
            number = Decimal("NaN")
        if not number.is_finite():
            self.complain(f"{column} {text[:40]!r} is not a number; write it as 1234.56")
        elif number < 0:
            self.complain(f"{column} {text[:40]} is negative")
        elif number > LARGEST:
            self.complain(f"{column} {text[:40]} is more than {LARGEST:,}")
        else:
            return number
        return None

    def day(self, column: str) -> date:
        text = self.text(column)
        try:
            return date.fromisoformat(text)
        except ValueError:
            self.complain(f"{column} {text[:40]!r} is not a day; write it as 2026-01-31")
            return date.min

    def position(self, symbol: str, shares: str, buy_price: str) -> Position:
        """The position in the columns, to eight decimals, because programs wrote floats into the files."""
        price = self.number(buy_price)
        return Position(
            self.symbol(symbol),
            round_number(self.number(shares) or Decimal(0)),
            None if price is None else round_number(price),
            self.line,
        )

    def why_no_stock(self, symbol: str, buy_price: str) -> str:
        """Why the line names no stock; empty for a line with a stock.

        CASH is the symbol of a stock, too (Pathward Financial). CASH in upper case, with a price that cash cannot
        have, means the stock.
        """
        text = self.text(symbol)
        if text.casefold() == symbol.casefold():
            return "it is a heading"
        if _TOTAL.fullmatch(text):
            return "it is a total"
        if _CASH.fullmatch(text):
            return "it is cash"
        if text.casefold() != "cash" or (text == "CASH" and self.number(buy_price) not in (None, 0, 1)):
            return ""
        return f"it is cash; write the stock CASH in upper case and with its {buy_price}"

    def leave_out(self, symbol: str, why: str) -> tuple[int, str]:
        """The note about a line without effect."""
        return self.line, f"{self.text(symbol)[:40]}, left out: {why}"


def round_number(number: Decimal) -> Decimal:
    return number.quantize(PLACES)
