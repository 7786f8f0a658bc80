"""Reads a portfolio from a CSV file, and writes it: the whole file or nothing of it.

Three kinds of file are known by their header: the predecessor's daily states (`chatgpt_portfolio_update.csv`), whose
latest day counts, its trade log (`chatgpt_trade_log.csv`), and a plain `symbol,shares,buy_price`.
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal, InvalidOperation
from operator import itemgetter
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

from market.models import Stock
from market.symbols import InvalidSymbol, parse_symbol
from portfolio.models import Holding, Portfolio

PORTFOLIO = "Main"
"""The portfolio that a file is imported into where none is named."""
LONGEST_FILE = 10_000_000
"""Bytes; 5,000 rows of the predecessor's files are under a million."""
MOST_PROBLEMS = 20
"""Problems of a file that are told; the others are counted."""

_TOTAL = "TOTAL"
_LARGEST = Decimal(10**12)
_PLACES = Decimal("0.000001")


Problems = list[tuple[int, str]]
"""What is wrong with a file: line and reason."""


class ImportRefused(Exception):
    """The file is not imported; each problem names its line."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems[:MOST_PROBLEMS]))
        self.problems = problems


@dataclass(frozen=True)
class Position:
    """So many shares of a stock, at what one cost on average. `line` is where the file says so."""

    symbol: str
    shares: Decimal
    buy_price: Decimal
    line: int


@dataclass(frozen=True)
class Statement:
    """What a file says. `whole`: it is the portfolio as it stands, so that what it lacks was sold."""

    kind: str
    positions: Sequence[Position]
    whole: bool
    day: date | None = None

    def __str__(self) -> str:
        count = len(self.positions)
        of_day = f" of {self.day}" if self.day else ""
        return f"{self.kind}{of_day}, {count} position{'' if count == 1 else 's'}"


@dataclass
class Imported:
    """What an import did to the holdings of a portfolio, in lines for people: `line 4: AAPL, 10 at 150`.

    `new_stocks`: symbols that no stock had before.
    """

    statement: Statement
    new_portfolio: bool = False
    new_stocks: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts = (("added", self.added), ("changed", self.changed), ("removed", self.removed))
        parts = [f"{len(lines)} {name}" for name, lines in counts if lines]
        return f"{', '.join(parts) or 'nothing to do'}; {len(self.unchanged)} as they were"

    @property
    def changes_something(self) -> bool:
        return bool(self.new_portfolio or self.added or self.changed or self.removed)


@dataclass(frozen=True)
class _Row:
    """A line of the file; `problems` collects what is wrong with it."""

    line: int
    values: dict[str, str]
    problems: Problems

    def complain(self, what: str) -> None:
        self.problems.append((self.line, what))

    def has_problems(self) -> bool:
        return bool(self.problems) and self.problems[-1][0] == self.line

    def symbol(self, column: str) -> str:
        try:
            return parse_symbol(self.values[column])
        except InvalidSymbol as error:
            self.complain(str(error))
            return ""

    def number(self, column: str) -> Decimal:
        """An amount that is not negative, to six decimals, as floats were written into these files; nothing is 0."""
        text = self.values[column].strip()
        if not text:
            return Decimal(0)
        try:
            number = Decimal(text)
        except InvalidOperation:
            number = Decimal("NaN")
        if not number.is_finite():
            self.complain(f"{column} {text[:40]!r} is not a number; write it as 1234.56")
        elif number < 0:
            self.complain(f"{column} {text[:40]} is negative")
        elif number > _LARGEST:
            self.complain(f"{column} {text[:40]} is more than {_LARGEST:,}")
        else:
            return number.quantize(_PLACES)
        return Decimal(0)

    def day(self, column: str) -> date:
        text = self.values[column].strip()
        try:
            return date.fromisoformat(text)
        except ValueError:
            self.complain(f"{column} {text[:40]!r} is not a day; write it as 2026-01-31")
            return date.min


def read_statement(content: bytes) -> Statement:
    """What a file says. ImportRefused names every line that is wrong, and why."""
    if len(content) > LONGEST_FILE:
        raise ImportRefused(f"the file has {len(content):,} bytes; at most {LONGEST_FILE:,} are read")
    lines = csv.reader(io.StringIO(_decode(content), newline=""), strict=True)
    problems: Problems = []
    try:
        header = [name.strip() for name in next(lines, [])]
        reader = _reader_for(header)
        rows = list(_rows(lines, header, problems))
    except csv.Error as error:
        raise ImportRefused(f"line {lines.line_num}: this is not CSV: {error}") from None
    if not rows and not problems:
        raise ImportRefused("the file has a header and nothing else")
    statement = reader(rows)
    problems += _repeated(statement.positions)
    if problems:
        raise ImportRefused(*(f"line {line}: {what}" for line, what in sorted(problems)))
    return statement


def import_statement(statement: Statement, user: User, name: str = PORTFOLIO) -> Imported:
    """Bring the user's portfolio to what the statement says; a second time there is nothing to do.

    The portfolio and unknown stocks are created. Imports into one portfolio wait for each other. Takes the same number
    of queries however many positions there are (on SQLite, one more for every 4,000).
    """
    imported = Imported(statement)
    with transaction.atomic():
        portfolio, imported.new_portfolio = Portfolio.objects.select_for_update().get_or_create(user=user, name=name)
        # In one order, so that two imports wait for each other instead of deadlocking.
        symbols = sorted(position.symbol for position in statement.positions)
        stocks = Stock.objects.in_bulk(symbols, field_name="symbol")
        imported.new_stocks = [symbol for symbol in symbols if symbol not in stocks]
        if imported.new_stocks:
            Stock.objects.bulk_create((Stock(symbol=symbol) for symbol in imported.new_stocks), ignore_conflicts=True)
            stocks |= Stock.objects.in_bulk(imported.new_stocks, field_name="symbol")
        held = {holding.stock.symbol: holding for holding in portfolio.holdings.select_related("stock")}
        written = []
        for position in statement.positions:
            told = f"line {position.line}: {position.symbol}, {_show(position)}"
            holding = held.pop(position.symbol, None)
            if holding is not None and (holding.shares, holding.buy_price) == (position.shares, position.buy_price):
                imported.unchanged.append(told)
                continue
            if holding is None:
                imported.added.append(told)
            else:
                imported.changed.append(f"{told} (was {_show(holding)})")
            written.append(
                Holding(
                    portfolio=portfolio,
                    stock=stocks[position.symbol],
                    shares=position.shares,
                    buy_price=position.buy_price,
                )
            )
        Holding.objects.bulk_create(
            written,
            update_conflicts=True,
            unique_fields=["portfolio", "stock"],
            update_fields=["shares", "buy_price"],
        )
        if statement.whole:
            imported.removed = [f"{symbol}, {_show(holding)}: not in the file" for symbol, holding in held.items()]
            portfolio.holdings.filter(stock__symbol__in=held).delete()
    return imported


def _decode(content: bytes) -> str:
    """The text of a file in UTF-8, with or without a byte order mark, or in Latin-1."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    if "\0" in text:
        raise ImportRefused("this is not a text file: it contains NUL")
    return text


def _rows(lines: Any, header: Sequence[str], problems: Problems) -> Iterator[_Row]:
    """The lines of a `csv.reader` that are not empty. One that goes over several lines has the number of the last."""
    for values in lines:
        line: int = lines.line_num
        if not any(value.strip() for value in values):
            continue
        if len(values) != len(header):
            problems.append((line, f"{len(values)} values where the header has {len(header)}"))
            continue
        yield _Row(line, dict(zip(header, values, strict=True)), problems)


def _reader_for(header: list[str]) -> Callable[[Sequence[_Row]], Statement]:
    folded = [name.casefold() for name in header]
    for columns, read in _KINDS.items():
        if folded == [column.casefold() for column in columns]:
            header[:] = columns
            return read
    known = "; ".join(",".join(columns) for columns in _KINDS)
    raise ImportRefused(f"line 1: the header is {','.join(header)[:200]!r}; known are: {known}")


def _read_states(rows: Sequence[_Row]) -> Statement:
    """The latest day's rows; the one called TOTAL has cash and equity."""
    days = [row.day("Date") for row in rows]
    latest = max(days, default=None)
    positions = []
    for row, day in zip(rows, days, strict=True):
        if row.values["Ticker"].strip().upper() == _TOTAL:
            continue
        position = Position(row.symbol("Ticker"), row.number("Shares"), row.number("Buy Price"), row.line)
        if day == latest and position.shares:
            positions.append(position)
    return Statement("portfolio update", positions, whole=True, day=latest)


def _read_trades(rows: Sequence[_Row]) -> Statement:
    """What is left of all that was bought, at its average cost; what is sold leaves the average as it is."""
    held: dict[str, Position] = {}
    days = [row.day("Date") for row in rows]
    for _day, row in sorted(zip(days, rows, strict=True), key=itemgetter(0)):
        symbol = row.symbol("Ticker")
        bought, sold = row.number("Shares Bought"), row.number("Shares Sold")
        before = held.get(symbol) or Position(symbol, Decimal(0), Decimal(0), row.line)
        cost = before.shares * before.buy_price + bought * row.number("Buy Price")
        shares = before.shares + bought
        average = cost / shares if shares else Decimal(0)
        if sold > shares:
            row.complain(f"{sold} {symbol} are sold where {shares} were held")
        if shares > _LARGEST:
            row.complain(f"{shares} {symbol} are more than {_LARGEST:,}")
        held[symbol] = Position(symbol, max(shares - sold, Decimal(0)), average, row.line)
    left = [
        replace(position, buy_price=position.buy_price.quantize(_PLACES))
        for position in held.values()
        if position.shares
    ]
    return Statement("trade log", left, whole=True, day=max(days, default=None))


def _read_plain(rows: Sequence[_Row]) -> Statement:
    positions = []
    for row in rows:
        positions.append(Position(row.symbol("symbol"), row.number("shares"), row.number("buy_price"), row.line))
        if not positions[-1].shares and not row.has_problems():
            row.complain(f"shares is 0; the least is {_PLACES:f}")
    return Statement("holdings", positions, whole=False)


def _repeated(positions: Iterable[Position]) -> Problems:
    first: dict[str, int] = {}
    return [
        (position.line, f"{position.symbol} is on line {first[position.symbol]} already")
        for position in positions
        if first.setdefault(position.symbol, position.line) != position.line and position.symbol
    ]


def _show(holding: Position | Holding) -> str:
    price = "an unknown buy price" if holding.buy_price is None else f"{holding.buy_price.normalize():f}"
    return f"{holding.shares.normalize():f} at {price}"


_KINDS: dict[tuple[str, ...], Callable[[Sequence[_Row]], Statement]] = {
    (
        "Date",
        "Ticker",
        "Shares",
        "Buy Price",
        "Cost Basis",
        "Stop Loss",
        "Current Price",
        "Total Value",
        "PnL",
        "Action",
        "Cash Balance",
        "Total Equity",
    ): _read_states,
    (
        "Date",
        "Ticker",
        "Shares Bought",
        "Buy Price",
        "Cost Basis",
        "PnL",
        "Reason",
        "Shares Sold",
        "Sell Price",
    ): _read_trades,
    ("symbol", "shares", "buy_price"): _read_plain,
}
