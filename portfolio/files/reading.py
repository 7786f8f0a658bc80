"""Reads a file about a portfolio, from any broker or program: the whole file, or nothing of it.

The lines of cells (`grid`) have tables, known by the names of their columns (`tables`, `columns`). A table has
positions or transactions. Positions count first: transactions add only a cost that the positions lack.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from django.conf import settings

from portfolio.files.columns import Column, fold, is_plain
from portfolio.files.content import FileContent, FilePosition, tell
from portfolio.files.grid import Grid, Line, read_grid
from portfolio.files.positions import latest_snapshot, read_positions
from portfolio.files.predecessor import is_states, is_trade_log, read_states
from portfolio.files.refused import ImportRefused
from portfolio.files.rows import Lines, Row
from portfolio.files.table_rows import rows_of
from portfolio.files.tables import Assigned, Table, find_tables, listings_of
from portfolio.files.trades import Traded, as_trades, read_trades

_CLOSED = frozenset({"date sold", "closed date", "liquidation date", "sell date", "realized gain loss"})
"""Names of columns in lists of positions that were sold."""
_PAID = (Column.BUY_PRICE, Column.TOTAL_COST, Column.GAIN, Column.PRICE)
_LINES_OF_HEADER = 60
"""The first lines, among which an unknown header is looked for."""
_EXAMPLES = 3


class UnknownColumns(ImportRefused):
    """No line names known columns. `header`: the line with the most names; `examples`: the next lines of the file."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self.header = max(lines[:_LINES_OF_HEADER], key=_count_names, default=None)
        after = lines.index(self.header) + 1 if self.header else 0
        self.examples = lines[after : after + _EXAMPLES]
        names = ", ".join(self.header.filled)[:200] if self.header else ""
        line = f"line {self.header.number}: unknown columns {names!r}" if self.header else "the file is empty"
        super().__init__(f"{line}; name the columns symbol, shares, buy_price, or as your broker does")


@dataclass(frozen=True)
class _Part:
    """A table with its rows."""

    table: Table
    rows: Sequence[Row]


def read_file(content: bytes, assigned: Assigned | None = None) -> FileContent:
    """Read a file. ImportRefused names every wrong line, and why."""
    grid = read_grid(content)
    tables = find_tables(grid.lines, assigned or {})
    if not tables:
        raise UnknownColumns(grid.lines)
    problems: Lines = []
    parts = _parts(tables, grid, problems)
    if not parts and not problems:
        raise ImportRefused("the file has only a header" if _is_only_header(tables) else _list_of_sold(tables))
    read = _read(parts) if parts else None
    if problems or read is None:
        raise ImportRefused(*tell(problems))
    most = settings.JOB_PROCESSOR.portfolio.max_positions
    if len(read.positions) > most:
        count = len(read.positions)
        raise ImportRefused(f"the file has {count:,} positions; portfolio.max_positions allows {most:,}")
    if not read.positions and not read.whole:
        raise ImportRefused("the file names no stock with shares", *read.notes)
    return read


def _parts(tables: Sequence[Table], grid: Grid, problems: Lines) -> list[_Part]:
    """The tables that have rows. Of tables with symbols and tables with names alone, the first count."""
    listings = listings_of(grid.lines)
    if any(Column.SYMBOL in table.columns or Column.NUMBER in table.columns for table in tables):
        tables = [table for table in tables if table.columns.keys() & {Column.SYMBOL, Column.NUMBER}]
    open_tables = [table for table in tables if not _CLOSED & {fold(cell) for cell in table.header.cells}]
    titles = [table.titles[-1:] for table in open_tables]
    several = len({tuple(title) for title in titles if title}) > 1
    parts = []
    for table, title in zip(open_tables, titles, strict=True):
        table.account = title[0] if several and title else ""
        if rows := list(rows_of(table, grid.separator, listings, problems)):
            parts.append(_Part(table, rows))
    return parts


def _is_only_header(tables: Iterable[Table]) -> bool:
    return not any(table.lines for table in tables)


def _list_of_sold(tables: Sequence[Table]) -> str:
    return f"line {tables[0].header.number}: this is a list of sold positions; export the open positions instead"


def _read(parts: Sequence[_Part]) -> FileContent:
    if is_states(parts[0].table):
        return read_states(parts[0].rows)
    notes: Lines = []
    held: list[Row] = []
    traded: list[Row] = []
    for part in parts:
        if (trades := as_trades(part.rows)) is None:
            held += part.rows
        else:
            traded += trades
    if not held:
        is_log = is_trade_log(parts[0].table)
        read = read_trades(traded, notes)
        return FileContent(
            "trade log" if is_log else "transactions",
            read.positions,
            whole=is_log,
            day=read.day,
            notes=tell(notes),
            uncertain=read.uncertain,
        )
    positions = read_positions(latest_snapshot(held), notes)
    if not any(row.has(column) for row in held[:1] for column in _PAID) and not traded:
        notes.append((parts[0].table.header.number, "no column has the price paid, so buy prices are unknown"))
    if traded:
        positions = _with_costs(positions, read_trades(traded, []))
    kind = "holdings" if is_plain(parts[0].table.header.cells) else "positions"
    names_portfolios = Column.PORTFOLIO in parts[0].table.columns
    return FileContent(kind, positions, notes=tell(notes), names_portfolios=names_portfolios)


def _with_costs(positions: Iterable[FilePosition], traded: Traded) -> list[FilePosition]:
    """The positions with the cost of the transactions, if the transactions lead to the same number of shares."""
    known = {(position.place, position.shares): position.buy_price for position in traded.positions}
    return [
        replace(position, buy_price=known.get((position.place, position.shares)))
        if position.buy_price is None
        else position
        for position in positions
    ]


def _count_names(line: Line) -> int:
    return sum(not cell[0].isdigit() for cell in line.filled)
