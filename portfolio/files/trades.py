"""Reads the rows of transactions: purchases less sales, at the average cost of the purchases without fees."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

from portfolio.files.actions import TRADES, Action, action_of
from portfolio.files.columns import Column, places_of
from portfolio.files.content import FilePosition
from portfolio.files.listing import identify
from portfolio.files.lots import Lots
from portfolio.files.numbers import LARGEST, round_number, show_number
from portfolio.files.positions import is_snapshot, without_parts
from portfolio.files.rows import Lines, Row

_NOT_DONE = ("cancel", "reject", "pending", "expired", "open", "failed")
"""Beginnings of the states of orders that changed no shares."""
_RATIO_NAMES = frozenset({"activitytype", "instrumenttype"})
"""Names of columns in Wealthfolio's files, where a split has the shares that one share becomes."""
_ACTIONS_NAMED = 20
"""The most actions that the note about transactions without shares names."""
_MINUS = ("-", "(", "\N{MINUS SIGN}")


@dataclass(frozen=True)
class _Trade:
    """`shares` is never negative."""

    day: date
    action: Action
    shares: Decimal
    price: Decimal | None
    position: FilePosition
    line: int

    @property
    def turn(self) -> tuple[date, int]:
        """By day. On a day, splits come first, as they happen before the opening, and purchases before sales."""
        return self.day, (2 if self.action is Action.SELL else 1 if self.action is Action.BUY else 0)


@dataclass(frozen=True)
class Traded:
    """`uncertain`: symbols whose remaining shares the file does not show."""

    positions: Sequence[FilePosition]
    uncertain: Sequence[str]
    day: date | None


def as_trades(rows: Sequence[Row]) -> list[Row] | None:
    """The rows as transactions, with the column that tells their actions; None if the rows are positions."""
    first = rows[0]
    if not first.has(Column.DATE) or is_snapshot(first):
        return None
    if first.has(Column.BOUGHT):
        return list(rows)
    if (place := _place_of_actions(rows)) is not None:
        return [row.with_column(Column.ACTION, place) for row in rows]
    without = [row.with_column(Column.ACTION, None) for row in rows]
    is_signed = any(row.text(Column.SHARES).startswith(_MINUS) for row in rows)
    costs = (Column.BUY_PRICE, Column.TOTAL_COST)
    if is_signed or (first.has(Column.PRICE) and not first.has(Column.WORTH) and not any(map(first.has, costs))):
        return without
    return None


def _place_of_actions(rows: Sequence[Row]) -> int | None:
    """The column with the most words of purchases and sales; a description only if no other column has such words."""
    header = rows[0].header
    for column in (Column.ACTION, Column.NAME):
        counts = {
            place: sum(action_of(row.line.cell(place)) in TRADES for row in rows)
            for place in places_of(header, column)
        }
        if counts and max(counts.values()):
            return max(counts, key=lambda place: counts[place])
    return None


def read_trades(rows: Sequence[Row], notes: Lines) -> Traded:
    """The remaining shares of each stock and account."""
    uncertain: set[str] = set()
    problems = rows[0].problems
    trades = _trades(rows, notes, uncertain)
    lots: dict[tuple[str, str], Lots] = {}
    last: dict[tuple[str, str], FilePosition] = {}
    for trade in sorted(trades, key=lambda trade: trade.turn):
        key = trade.position.place
        last[key] = replace(trade.position, line=trade.line)
        held = lots.setdefault(key, Lots())
        missing = _apply(trade, held)
        if held.shares > LARGEST:
            problems.append((trade.line, f"{show_number(held.shares)} {trade.position.key} are more than {LARGEST:,}"))
        if missing:
            uncertain.add(trade.position.key)
            notes.append((trade.line, _explain_missing(trade.position.key, missing)))
    positions = [
        replace(last[key], shares=round_number(held.shares), buy_price=held.price)
        for key, held in lots.items()
        if round_number(held.shares)
    ]
    return Traded(positions, sorted(uncertain), max((trade.day for trade in trades), default=None))


def _apply(trade: _Trade, lots: Lots) -> Decimal:
    """Change the lots. Returns the number of shares that were sold and never bought."""
    match trade.action:
        case Action.SELL:
            return lots.sell(trade.shares)
        case Action.SPLIT_TOTAL:
            lots.split(trade.shares)
        case Action.SPLIT_RATIO:
            lots.split(lots.shares * trade.shares)
        case Action.SPLIT:
            lots.split(max(lots.shares + trade.shares, Decimal(0)))
        case _:
            lots.buy(trade.shares, trade.price)
    return Decimal(0)


def _trades(rows: Sequence[Row], notes: Lines, uncertain: set[str]) -> list[_Trade]:
    """The rows that change shares. A note counts the other rows by their action."""
    others: Counter[str] = Counter()
    trades: list[_Trade] = []
    for row in without_parts(rows):
        action = _action(row)
        if row.text(Column.STATUS).casefold().startswith(_NOT_DONE):
            continue
        if action is Action.NONE or (action is Action.UNKNOWN and not row.can_trade()):
            others[row.text(Column.ACTION)[:40] or "no action"] += 1
        elif why := row.why_no_stock():
            notes.append(row.leave_out(why))
        elif trade := _trade(row, action, notes):
            if action is Action.UNKNOWN:
                uncertain.add(trade.position.key)
                said = row.text(Column.ACTION)[:40]
                notes.append(row.leave_out(f"{said!r} is neither a purchase nor a sale"))
            else:
                trades.append(trade)
    if others:
        told = ", ".join(f"{count} {action}" for action, count in sorted(others.most_common(_ACTIONS_NAMED)))
        more = f" and {len(others) - _ACTIONS_NAMED} other actions" if len(others) > _ACTIONS_NAMED else ""
        notes.append((rows[0].line.number, f"and below, left out because no shares change: {told}{more}"))
    return trades


def _action(row: Row) -> Action:
    """By the row's word; without a word, by the column or the sign of the shares."""
    if row.has(Column.BOUGHT):
        return Action.BUY if row.text(Column.BOUGHT) else Action.SELL
    action = action_of(row.text(Column.ACTION))
    if action is Action.SPLIT and _RATIO_NAMES & set(row.header):
        return Action.SPLIT_RATIO
    if not row.text(Column.ACTION) and row.has_number(Column.SHARES):
        action = Action.BUY
    is_negative = row.text(Column.SHARES).startswith(_MINUS)
    if is_negative and action is Action.BUY and not row.text(Column.ACTION):
        return Action.SELL
    return action


def _trade(row: Row, action: Action, notes: Lines) -> _Trade | None:
    column = Column.SHARES
    if row.has(Column.BOUGHT):
        column = Column.BOUGHT if action is Action.BUY else Column.SOLD
    shares = row.number(column, signed=column is Column.SHARES) or Decimal(0)
    if action is Action.MOVE:
        action = Action.BUY if shares > 0 else Action.SELL
        price = None
    else:
        price = _price(row, abs(shares)) if action is Action.BUY and shares else None
    if action is not Action.SPLIT:
        shares = abs(shares)
    day = row.day(Column.DATE)
    position = identify(row, shares, price, notes)
    if row.has_problems() or not shares:
        return None
    return _Trade(day, action, shares, price, position, row.line.number)


def _price(row: Row, shares: Decimal) -> Decimal | None:
    """The price of a share, or else the amount without fees and taxes, for a share."""
    for column in (Column.PRICE, Column.BUY_PRICE):
        if row.has(column):
            price = row.number(column, signed=True)
            # A purchase for nothing, by sign alone, is a corporate action: its cost is not known.
            return abs(price) if price or (price is not None and row.text(Column.ACTION)) else None
    if gross := row.number(Column.GROSS, signed=True):
        return abs(gross) / shares
    amount = row.number(Column.AMOUNT, signed=True)
    if amount is None:
        return None
    costs = sum(abs(row.number(column, signed=True) or Decimal(0)) for column in (Column.FEES, Column.TAXES))
    return max(abs(amount) - costs, Decimal(0)) / shares


def _explain_missing(symbol: str, missing: Decimal) -> str:
    sold = f"{show_number(missing)} {symbol} sold that the log never bought"
    where = "a file of positions, such as the portfolio update, has the remaining shares"
    return f"{sold}: {symbol} was bought before the log begins; {where}"
