"""Reads the predecessor's daily states, `chatgpt_portfolio_update.csv`: the latest day is the portfolio.

The file grows by a block of rows a day. TOTAL ends a block, and has cash and equity. A row with the action SELL is a
sale of that day. Its trade log is read as any list of transactions.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import chain

from portfolio.files.columns import Column, fold
from portfolio.files.content import FileContent, FilePosition, tell
from portfolio.files.listing import identify
from portfolio.files.rows import Lines, Row
from portfolio.files.tables import Table

_STATES = frozenset({"date", "ticker", "shares", "buy price", "action", "cash balance", "total equity"})
_TRADES = frozenset({"date", "ticker", "shares bought", "shares sold", "buy price"})


def is_states(table: Table) -> bool:
    return {fold(cell) for cell in table.header.cells} >= _STATES


def is_trade_log(table: Table) -> bool:
    return {fold(cell) for cell in table.header.cells} >= _TRADES


def read_states(rows: Sequence[Row]) -> FileContent:
    days = [row.day(Column.DATE) for row in rows]
    latest = max(days)
    positions: dict[str, FilePosition] = {}
    notes: Lines = []
    uncertain: list[str] = []
    for row in _last_block([row for row, day in zip(rows, days, strict=True) if day == latest]):
        action, ticker = row.text(Column.ACTION), row.text(Column.SYMBOL).upper()
        if action.upper().startswith("SELL"):
            notes.append(row.leave_out(f"it was sold that day ({action[:40]})"))
        elif why := row.why_no_stock():
            notes.append(row.leave_out(why))
            uncertain.append(ticker)
        else:
            _add(row, positions, notes)
    return FileContent(
        "portfolio update",
        list(positions.values()),
        whole=True,
        day=latest,
        notes=tell(notes),
        uncertain=tuple(uncertain),
    )


def _add(row: Row, positions: dict[str, FilePosition], notes: Lines) -> None:
    shares = row.number(Column.SHARES)
    if not row.text(Column.SHARES):
        row.complain("Shares is empty")
    position = identify(row, shares or Decimal(0), row.number(Column.BUY_PRICE), notes)
    if first := positions.get(position.key):
        row.complain(f"{position.key} is on line {first.line} already")
    elif position.shares:
        positions[position.key] = position


def _last_block(rows: Iterable[Row]) -> list[Row]:
    """The rows of a day; of a day that was written twice, the rows of the last block."""
    blocks: list[list[Row]] = [[]]
    for row in rows:
        if row.text(Column.SYMBOL).upper() == "TOTAL":
            blocks.append([])
        else:
            blocks[-1].append(row)
    of_blocks = (ticker for block in blocks for ticker in {row.text(Column.SYMBOL).upper() for row in block})
    is_twice = any(count > 1 for count in Counter(of_blocks).values())
    return next(block for block in reversed(blocks) if block) if is_twice else list(chain(*blocks))
