"""A line of a table: its numbers, its day, its symbol, and whether the line names a stock at all."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal

from market.foreign_symbols import exchange_suffix, is_translatable, translate_symbol
from market.symbols import InvalidSymbol, number_kind
from portfolio.files.columns import Column
from portfolio.files.days import parse_day
from portfolio.files.grid import Line
from portfolio.files.numbers import LARGEST, NOTHING, DecimalSign, NotANumber, parse_number

Lines = list[tuple[int, str]]
"""Texts about lines of a file, each with the number of the line."""

# Texts of several words are no symbols, so leaving out sums and cash loses no stock: "Account Total".
_TOTAL = re.compile(r"(.*\s)?(sub-?|sous-?|grand )?(totals?|totaal)(\s.*)?:?", re.IGNORECASE)
_SUM = re.compile(
    r"(totale|totalt|tot\.|(gesamt|end|zwischen)?summe|gesamt(wert|betrag)?|somme|suma|sum|razem|i alt)(\s.*)?:?",
    re.IGNORECASE,
)
"""Sums in other languages; some are symbols too, and have a price then."""
_CASH = re.compile(r"(.*\s)?cash(:|\s.*)|.*\scash|\$+cash\S*|core\*\*", re.IGNORECASE)
_MONEY_MARKET = re.compile(r".*\*\*|[A-Z]{3}XX", re.ASCII)
_MONEY_MARKET_NAME = re.compile(r"\b(money (market|mkt)|sweep|cash reserves?|settlement fund)\b", re.IGNORECASE)
_OPTION = re.compile(
    r"-?[A-Z.]{1,6} *\d{6}[CP]\d+(\.\d+)?|[A-Z.]{1,6} [^ ]+ \d+(\.\d+)? [CP]|[A-Z.]+#[A-Z0-9]+"
    r"|[A-Z&-]+\d{2}([A-Z]{3}|\d{3})[\d.]*([CP]E|FUT)|[A-Z]+\d{1,2}[A-Z]{3}\d{2}[CP][\d.]+",
    re.ASCII,
)
_OPTION_NAME = re.compile(
    r"(call|put)s? .*\d|.*(\b(call|put)s? \$?\d|\$\d+(\.\d+)? (call|put)\b|/\d{2,4} (call|put)\b).*", re.IGNORECASE
)
"""Such as `QAAA Jun 19 '26 $41 Call`."""
_LONGEST = 100
"""Characters of a cell that are compared with the patterns."""
_OTHER_KINDS = re.compile(
    r"((equity and index |index |stock )?(options?|futures?|warrants?)( on futures)?|bonds?|fixed income"
    r"|treasur(y|ies)|cash and .*|money market.*|forex|currenc(y|ies)|cfds?|loans?|optn|fo|crypto.*"
    r"|digital (currenc|asset).*)"
    r"|(?-i:CASH|OPT|FUT|FOP|WAR|BOND|MMF)",
    re.IGNORECASE,
)
_INTERNAL_NUMBER = re.compile(r"99\d{7}")
"""A CUSIP that a broker gives to its own accounts: https://www.cusip.com/identifiers.html reserves these numbers."""


@dataclass(frozen=True)
class Style:
    """How a table writes numbers and days."""

    sign: DecimalSign
    month_first: bool


@dataclass(frozen=True)
class Row:
    """A line of a table; `problems` collects its errors. `names`: the file's names of the columns.

    `header`: the folded names of all columns. `account`: the account of the table. `listings`: exchanges of symbols.
    """

    line: Line
    columns: Mapping[Column, int]
    names: Mapping[Column, str]
    style: Style
    problems: Lines
    header: Sequence[str] = ()
    account: str = ""
    listings: Mapping[str, str] = field(default_factory=dict)

    def with_column(self, column: Column, place: int | None) -> "Row":
        """The same row with the column at another place, or without the column."""
        columns = {**self.columns, **({} if place is None else {column: place})}
        if place is None:
            columns.pop(column, None)
        return replace(self, columns=columns)

    def complain(self, what: str) -> None:
        self.problems.append((self.line.number, what))

    def has_problems(self) -> bool:
        return bool(self.problems) and self.problems[-1][0] == self.line.number

    def note(self, what: str) -> tuple[int, str]:
        return self.line.number, what

    def leave_out(self, why: str) -> tuple[int, str]:
        """The note about a line without effect."""
        texts = (self.text(Column.SYMBOL), self.text(Column.NAME), *self.line.filled)
        shown = next((text for text in texts if text.strip("-")), texts[-1])
        return self.line.number, f"{shown[:40]}, left out: {why}"

    def has(self, column: Column) -> bool:
        return column in self.columns

    def text(self, column: Column) -> str:
        """The cell, without the marks by which spreadsheets keep text as text; empty without the column."""
        text = self.line.cell(self.columns[column]) if column in self.columns else ""
        if text.startswith('="') and text.endswith('"'):
            text = text[2:-1]
        return text.removeprefix("'").strip()

    def number(self, column: Column, *, signed: bool = False) -> Decimal | None:
        """An amount; None for an empty cell, or for a wrong cell, which becomes a problem."""
        text = self.text(column)
        try:
            number = parse_number(text, self.style.sign)
        except NotANumber as error:
            self.complain(f"{self.names[column]} {str(error)!r} is not a number; write it as 1234.56")
            return None
        if number is None:
            return None
        if number < 0 and not signed:
            self.complain(f"{self.names[column]} {text[:40]} is negative")
        elif abs(number) > LARGEST:
            self.complain(f"{self.names[column]} {text[:40]} is more than {LARGEST:,}")
        else:
            return number
        return None

    def can_read(self, column: Column) -> bool:
        """Whether the cell is a number, or empty."""
        try:
            parse_number(self.text(column), self.style.sign)
        except NotANumber:
            return False
        return True

    def has_number(self, column: Column) -> bool:
        return self.can_read(column) and parse_number(self.text(column), self.style.sign) is not None

    def first_number(self, column: Column) -> Decimal | None:
        """The number of a cell that may say the same in percent too, `+$500.00 +25.00%`; None without a number."""
        try:
            return parse_number(self.text(column).split(" ")[0], self.style.sign)
        except NotANumber:
            return None

    def can_trade(self) -> bool:
        """Whether the row names a stock and shares."""
        return self.text(Column.SHARES).casefold() not in NOTHING and not self.why_no_stock()

    def names_exchange(self) -> bool:
        """Whether the symbol or the row says where the stock is listed."""
        return ":" in self.text(Column.SYMBOL) or exchange_suffix(self.exchange) is not None

    @property
    def exchange(self) -> str:
        """The name of the exchange; empty if the file has none."""
        return self.text(Column.EXCHANGE) or self.listings.get(self.text(Column.SYMBOL), "")

    def day(self, column: Column) -> date:
        text = self.text(column)
        if day := parse_day(text, month_first=self.style.month_first):
            return day
        self.complain(f"{self.names[column]} {text[:40]!r} is not a day; write it as 2026-01-31")
        return date.min

    def symbol(self) -> str:
        try:
            return translate_symbol(self.text(Column.SYMBOL), self.exchange)
        except InvalidSymbol as error:
            self.complain(str(error))
            return ""

    def security_number(self) -> str:
        """The ISIN, CUSIP or other number of a security, if the line has no symbol; else empty."""
        symbol = self.text(Column.SYMBOL)
        if number_kind(symbol):
            return symbol.upper()
        return "" if self.has_symbol() else self.text(Column.NUMBER)[:20].upper()

    def has_symbol(self) -> bool:
        symbol = self.text(Column.SYMBOL)
        if symbol.casefold() in NOTHING:
            return False
        return " " not in symbol or is_translatable(symbol)

    def is_sum_or_cash(self) -> bool:
        return bool(
            _TOTAL.fullmatch(self.text(Column.SYMBOL)[:_LONGEST]) or self.text(Column.SYMBOL).upper() == "CASH"
        )

    def why_no_stock(self) -> str:
        """Why the line names no stock; empty for a line with a stock or with a security's number."""
        symbol, name = self.text(Column.SYMBOL)[:_LONGEST], self.text(Column.NAME)[:_LONGEST]
        number = self.security_number()
        first = symbol or ("" if number else name or self.line.filled[0][:_LONGEST])
        if _TOTAL.fullmatch(first) or (_SUM.fullmatch(first) and not self._has_price()):
            return "it is a total"
        if _CASH.fullmatch(first) or _MONEY_MARKET.fullmatch(symbol.upper()) or _MONEY_MARKET_NAME.search(name):
            return "it is cash"
        if _OPTION.fullmatch(symbol.upper()) or any(map(_OPTION_NAME.match, (symbol, name))):
            return "it is an option"
        kind = self.text(Column.KIND)
        if _OTHER_KINDS.fullmatch(kind):
            return f"it is no stock ({kind})"
        if symbol.casefold() == "cash" and not self._is_stock_cash():
            price = self.names.get(Column.BUY_PRICE, "price")
            return f"it is cash; write the stock CASH in upper case and with its {price}"
        if self.text(Column.EXCHANGE).upper() in ("FX", "CRYPTO"):
            return "it is a currency"
        if _INTERNAL_NUMBER.fullmatch(number):
            return "it is cash"
        if not self.has_symbol() and not number and not (self.is_nameable and name):
            return "it has no symbol"
        return ""

    @property
    def is_nameable(self) -> bool:
        """Whether the table has neither symbols nor numbers, and so names its stocks in words alone."""
        return not self.has(Column.SYMBOL) and not self.has(Column.NUMBER)

    def _has_price(self) -> bool:
        return any(self.has_number(column) for column in (Column.BUY_PRICE, Column.PRICE) if self.has(column))

    def _is_stock_cash(self) -> bool:
        """CASH is the symbol of a stock, too (Pathward Financial), in upper case and with a price of its own."""
        found = next((column for column in (Column.BUY_PRICE, Column.PRICE) if self.has(column)), None)
        if found is None or self.text(Column.SYMBOL) != "CASH" or not self.has_number(found):
            return False
        return self.number(found, signed=True) not in (0, 1)
