"""Reads a CSV file about a portfolio: the whole file, or nothing of it.

The names of the columns, in any order, decide between three kinds of files: the predecessor's daily states
(`chatgpt_portfolio_update.csv`), whose latest day counts, its trade log (`chatgpt_trade_log.csv`), or a plain list
with `symbol`, `shares` and `buy_price`.
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from market.symbols import number_kind
from portfolio.statement_rows import LARGEST, PLACES, Lines, Position, Row, round_number, show_number

LONGEST_FILE = 10_000_000
"""Bytes; 5,000 rows of the predecessor's files are under a million."""
MOST_PROBLEMS = 20
"""The most problems of a file to list; further problems are counted."""


class ImportRefused(Exception):
    """The file is not imported; each problem names its line."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems[:MOST_PROBLEMS]))
        self.problems = problems


@dataclass(frozen=True)
class Statement:
    """The content of a file. `whole`: the file is the complete portfolio, and a missing stock was sold.

    `notes` name each line without effect, with the reason. `uncertain`: symbols whose remaining shares the file does
    not show; the import keeps their holdings.
    """

    kind: str
    positions: Sequence[Position]
    whole: bool
    day: date | None = None
    notes: Sequence[str] = ()
    uncertain: Sequence[str] = ()

    def __str__(self) -> str:
        count = len(self.positions)
        of_day = f" of {self.day}" if self.day else ""
        return f"{self.kind}{of_day}, {count} position{'' if count == 1 else 's'}"


def read_statement(content: bytes) -> Statement:
    """Read a file. ImportRefused names every wrong line, and why."""
    if len(content) > LONGEST_FILE:
        raise ImportRefused(f"the file has {len(content):,} bytes; at most {LONGEST_FILE:,} are read")
    lines = csv.reader(io.StringIO(_decode(content), newline=""), strict=True)
    problems: Lines = []
    try:
        header = [name.strip() for name in next(lines, [])]
        reader = _reader_for(header)
        rows = list(_rows(lines, header, problems))
    except csv.Error as error:
        raise ImportRefused(f"line {lines.line_num}: this is not CSV: {error}") from None
    if not rows and not problems:
        raise ImportRefused("the file has only a header")
    statement = reader(rows)
    problems += _repeated(statement.positions)
    if problems:
        raise ImportRefused(*_tell(problems))
    return statement


def _decode(content: bytes) -> str:
    """The text of a file in UTF-8, with or without a byte order mark, or in Latin-1."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    if "\0" in text:
        raise ImportRefused("this is not a text file: it contains NUL")
    return text


def _rows(lines: Any, header: Sequence[str], problems: Lines) -> Iterator[Row]:
    """The lines of a `csv.reader`, without empty lines. A row over several lines has the number of its last line."""
    for values in lines:
        line: int = lines.line_num
        if not any(value.strip() for value in values):
            continue
        if len(values) != len(header):
            problems.append((line, f"{len(values)} values where the header has {len(header)}"))
            continue
        yield Row(line, dict(zip(header, values, strict=True)), problems)


def _reader_for(header: list[str]) -> Callable[[Sequence[Row]], Statement]:
    """The reader for a kind of file, chosen by its columns in any order; replaces `header` by the known spelling."""
    folded = [name.casefold() for name in header]
    for columns, read in _KINDS.items():
        known = {column.casefold(): column for column in columns}
        if sorted(folded) == sorted(known):
            header[:] = [known[name] for name in folded]
            return read
    choices = "; ".join(",".join(columns) for columns in _KINDS)
    raise ImportRefused(f"line 1: unknown header {','.join(header)[:200]!r}; known headers: {choices}")


def _read_states(rows: Sequence[Row]) -> Statement:
    """The latest day's rows. TOTAL has cash and equity; a row with the action SELL is a sale of the same day."""
    days = [row.day("Date") for row in rows]
    latest = max(days, default=None)
    positions: list[Position] = []
    notes: Lines = []
    uncertain: list[str] = []
    for row, day in zip(rows, days, strict=True):
        ticker, action = row.text("Ticker").upper(), row.text("Action")
        if ticker == "TOTAL":
            continue
        if action.upper().startswith("SELL"):
            notes += [row.leave_out("Ticker", f"it was sold that day ({action[:40]})")] if day == latest else []
        elif why := row.why_no_stock("Ticker", "Buy Price"):
            notes += [row.leave_out("Ticker", why)] if day == latest else []
            uncertain.append(ticker)
        else:
            position = row.position("Ticker", "Shares", "Buy Price")
            if not row.text("Shares"):
                row.complain("Shares is empty")
            positions += [position] if day == latest and position.shares else []
    return Statement(
        "portfolio update", positions, whole=True, day=latest, notes=_tell(notes), uncertain=tuple(uncertain)
    )


@dataclass
class _Traded:
    """A stock in a trade log. `average`: the cost of a share; None after a purchase without a price."""

    line: int = 0
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
        """Sell shares at an unchanged average. Returns the shares that the log never bought, rounding errors aside."""
        left = round_number(self.shares - shares)
        self.shares = self.shares - shares if left > 0 else Decimal(0)
        return max(-left, Decimal(0))


def _read_trades(rows: Sequence[Row]) -> Statement:
    """All purchases less all sales, at their average cost."""
    traded: dict[str, _Traded] = {}
    notes: Lines = []
    uncertain: list[str] = []
    days = [row.day("Date") for row in rows]
    for _day, row in sorted(zip(days, rows, strict=True), key=_turn):
        symbol = row.symbol("Ticker")
        stock = traded.setdefault(symbol, _Traded())
        stock.line = row.line
        if bought := row.number("Shares Bought"):
            stock.buy(bought, row.number("Buy Price"))
        if stock.shares > LARGEST:
            row.complain(f"{show_number(stock.shares)} {symbol} are more than {LARGEST:,}")
        if (sold := row.number("Shares Sold")) and (missing := stock.sell(sold)):
            uncertain.append(symbol)
            notes.append((row.line, _explain_missing(symbol, missing)))
    positions = [
        Position(
            symbol,
            round_number(stock.shares),
            None if stock.average is None else round_number(stock.average),
            stock.line,
        )
        for symbol, stock in traded.items()
        if round_number(stock.shares)
    ]
    day = max(days, default=None)
    return Statement("trade log", positions, whole=True, day=day, notes=_tell(notes), uncertain=tuple(uncertain))


def _turn(dated: tuple[date, Row]) -> tuple[date, bool]:
    """The place of a row in a log: by day; on the same day, purchases come before sales."""
    day, row = dated
    return day, not row.text("Shares Bought")


def _explain_missing(symbol: str, missing: Decimal) -> str:
    sold = f"{show_number(missing)} {symbol} sold that the log never bought"
    return f"{sold}: {symbol} was bought before the log begins; the portfolio update has the remaining shares"


def _read_plain(rows: Sequence[Row]) -> Statement:
    """Lines of a plain list only add. A line without a stock is left out, with a note."""
    positions: list[Position] = []
    notes: Lines = []
    for row in rows:
        text = row.text("symbol")
        why = row.why_no_stock("symbol", "buy_price")
        if kind := number_kind(text):
            why = f"it is {kind}, not a symbol; write the symbol, such as AAPL"
        if why:
            notes.append(row.leave_out("symbol", why))
            continue
        position = row.position("symbol", "shares", "buy_price")
        if not position.shares and not row.has_problems():
            row.complain(f"shares is 0; the minimum is {PLACES:f}")
        positions.append(position)
    return Statement("holdings", positions, whole=False, notes=_tell(notes))


def _repeated(positions: Iterable[Position]) -> Lines:
    first: dict[str, int] = {}
    return [
        (position.line, f"{position.symbol} is on line {first[position.symbol]} already")
        for position in positions
        if first.setdefault(position.symbol, position.line) != position.line and position.symbol
    ]


def _tell(lines: Lines) -> tuple[str, ...]:
    """Number and join the texts, in the order of the file, each text once."""
    return tuple(f"line {line}: {what}" for line, what in sorted(set(lines)))


_KINDS: dict[tuple[str, ...], Callable[[Sequence[Row]], Statement]] = {
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
