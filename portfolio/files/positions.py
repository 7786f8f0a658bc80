"""Reads the rows of positions: a row for each stock, or for each purchase of a stock."""

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal

from portfolio.files.columns import Column
from portfolio.files.content import FilePosition, add_up_positions
from portfolio.files.days import parse_day
from portfolio.files.listing import identify
from portfolio.files.numbers import round_number
from portfolio.files.rows import Lines, Row

_SNAPSHOT = ("date", "symbol", "quantity", "price", "currency")
"""The columns of Wealthfolio's list of holdings, which has a block of rows for each of several days."""
_LEVELS = (
    frozenset({"summary", "order", "data"}),
    frozenset({"lot", "closedlot", "closed_lot", "trade", "execution", "asset_summary", "symbol_summary"}),
)
"""Levels of detail of Interactive Brokers. Rows of the second kind repeat rows of the first, where there are any."""


def read_positions(rows: Iterable[Row], notes: Lines) -> list[FilePosition]:
    """A position for each stock and account, with the average cost of its lots."""
    return add_up_positions(_positions(rows, notes))


def _positions(rows: Iterable[Row], notes: Lines) -> Iterator[FilePosition]:
    for row in without_parts(rows):
        if why := row.why_no_stock() or _why_not_held(row):
            notes.append(row.leave_out(why))
            continue
        shares = _shares(row)
        position = identify(row, shares, _price(row, shares), notes)
        if not row.has_problems():
            yield position


def without_parts(rows: Iterable[Row]) -> list[Row]:
    """Leave out rows that repeat a part of another row: lots with a day in place of a symbol, and finer levels."""
    kept = [row for row in rows if parse_day(row.text(Column.SYMBOL), month_first=True) is None]
    levels = {row.text(Column.LEVEL).casefold() for row in kept}
    if not levels & _LEVELS[0]:
        return [row for row in kept if not row.text(Column.LEVEL).casefold().endswith("_summary")]
    return [row for row in kept if row.text(Column.LEVEL).casefold() not in _LEVELS[1]]


def is_snapshot(rows: Sequence[Row]) -> bool:
    """Whether the rows are Wealthfolio's: with its columns, and with cash or a stock on several days."""
    if tuple(rows[0].header) != _SNAPSHOT:
        return False
    symbols = [row.text(Column.SYMBOL) for row in rows]
    return len(set(symbols)) < len(symbols) or any(symbol.startswith("$CASH") for symbol in symbols)


def latest_snapshot(rows: Sequence[Row]) -> Sequence[Row]:
    """The rows of the last day of a list of holdings by day; other rows as they are.

    The price in such a list is not documented, so it is not taken as the price paid.
    """
    if not is_snapshot(rows):
        return rows
    days = [row.day(Column.DATE) for row in rows]
    latest = max(days)
    return [row.with_column(Column.PRICE, None) for row, day in zip(rows, days, strict=True) if day == latest]


def _why_not_held(row: Row) -> str:
    if not row.can_read(Column.SHARES):
        return ""  # a problem, not a reason
    shares = _shares(row)
    if not shares:
        return "it has no shares"
    return "it is a short position" if shares < 0 else ""


def _shares(row: Row) -> Decimal:
    """All shares of the row; shares that are pledged are listed apart by Zerodha."""
    columns = (Column.SHARES, Column.PLEDGED, Column.LENT)
    return round_number(sum((row.number(column, signed=True) or Decimal(0) for column in columns), Decimal(0)))


def _price(row: Row, shares: Decimal) -> Decimal | None:
    """The average cost of a share. A column `Price` counts in a table without any value of today."""
    if row.has(Column.BUY_PRICE) and (row.text(Column.BUY_PRICE) or not row.has(Column.TOTAL_COST)):
        return row.number(Column.BUY_PRICE)
    if row.has(Column.TOTAL_COST):
        cost = row.number(Column.TOTAL_COST, signed=True)
        return None if cost is None else abs(cost) / shares
    if row.has(Column.GAIN):
        return _price_by_gain(row, shares)
    return None if row.has(Column.WORTH) or row.has(Column.AMOUNT) else row.number(Column.PRICE)


def _price_by_gain(row: Row, shares: Decimal) -> Decimal | None:
    """Merrill's holdings have no cost, except as the value less the gain."""
    value = row.first_number(Column.WORTH if row.has(Column.WORTH) else Column.AMOUNT)
    gain = row.first_number(Column.GAIN)
    return None if value is None or gain is None or gain > value else (value - gain) / shares
