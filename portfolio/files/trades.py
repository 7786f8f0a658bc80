"""Reads the rows of transactions: purchases less sales, at the average cost of the purchases without fees."""

import re
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
from portfolio.files.numbers import LARGEST, is_number, parse_number, round_number, show_number
from portfolio.files.positions import is_snapshot, without_parts
from portfolio.files.rows import Lines, Row

_NOT_DONE = ("cancel", "reject", "pending", "expired", "open", "failed")
"""Beginnings of the states of orders that changed no shares."""
_RATIO_NAMES = frozenset({"activitytype", "instrumenttype"})
"""Names of columns in Wealthfolio's files, where a split has the shares that one share becomes."""
_ACTIONS_NAMED = 20
"""The most actions that the note about transactions without shares names."""
_TIMES = frozenset({"time", "uhrzeit", "tijd", "hora", "ora", "heure", "trade time"})
_TIME = re.compile(r"\d{1,2}:\d{2}(:\d{2})?")
_MINUS = ("-", "(", "\N{MINUS SIGN}")


@dataclass(frozen=True)
class _Trade:
    """`shares` is never negative."""

    day: date
    time: str
    """The time of day as in the file, `14:30:03`; empty if the file has none."""
    action: Action
    shares: Decimal
    price: Decimal | None
    position: FilePosition
    line: int

    @property
    def turn(self) -> tuple[date, str, int]:
        """By day and time. Splits come first, as they happen before the opening, and purchases before sales."""
        return self.day, self.time, (2 if self.action is Action.SELL else 1 if self.action is Action.BUY else 0)


@dataclass(frozen=True)
class Traded:
    """`uncertain`: symbols whose remaining shares the file does not show."""

    positions: Sequence[FilePosition]
    uncertain: Sequence[str]
    day: date | None


def as_trades(rows: Sequence[Row]) -> list[Row] | None:
    """The rows as transactions, with the column that tells their actions; None if the rows are positions."""
    first = rows[0]
    if not first.has(Column.DATE) or is_snapshot(rows):
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
    """The column of actions with the most words of purchases and sales."""
    counts = {
        place: sum(action_of(row.line.cell(place)) in TRADES for row in rows)
        for place in places_of(rows[0].header, Column.ACTION)
    }
    return max(counts, key=lambda place: counts[place]) if any(counts.values()) else None


def read_trades(rows: Sequence[Row], notes: Lines) -> Traded:
    """The remaining shares of each stock and account."""
    uncertain: set[str] = set()
    problems = rows[0].problems
    trades = _trades(rows, notes, uncertain)
    lots: dict[tuple[str, str], Lots] = {}
    last: dict[tuple[str, str], FilePosition] = {}
    if not all(trade.time for trade in trades):
        trades = [replace(trade, time="") for trade in trades]
    for trade in _with_whole_splits(sorted(trades, key=lambda trade: trade.turn)):
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


def _with_whole_splits(trades: Sequence[_Trade]) -> list[_Trade]:
    """Join the rows of a reverse split: the old shares that go, and the new shares that come."""
    whole: list[_Trade] = []
    of_day: dict[tuple[date, tuple[str, str]], int] = {}
    for trade in trades:
        key = trade.day, trade.position.place
        if trade.action is Action.SPLIT and key in of_day:
            first = whole[of_day[key]]
            whole[of_day[key]] = replace(first, shares=first.shares + trade.shares)
            continue
        if trade.action is Action.SPLIT:
            of_day[key] = len(whole)
        whole.append(trade)
    return whole


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
        elif action is Action.SPLIT and row.security_number() and row.has(Column.SYMBOL):
            notes.append(row.leave_out("a split names the old shares by a number; check the shares of the stock"))
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
    if action is Action.NONE and _is_reinvested(row):
        return Action.BUY
    if action is Action.SPLIT and _RATIO_NAMES & set(row.header):
        return Action.SPLIT_RATIO
    if not row.text(Column.ACTION) and row.has_number(Column.SHARES):
        action = Action.BUY
    is_negative = row.text(Column.SHARES).startswith(_MINUS)
    if is_negative and action is Action.BUY and not row.text(Column.ACTION):
        return Action.SELL
    return action


def _is_reinvested(row: Row) -> bool:
    """Whether a dividend paid for shares: old files of E*TRADE have both in a row."""
    if "dividend" not in row.text(Column.ACTION).casefold():
        return False
    return row.text(Column.AMOUNT).startswith(_MINUS) and bool(row.first_number(Column.SHARES))


def _trade(row: Row, action: Action, notes: Lines) -> _Trade | None:
    column = Column.SHARES
    if row.has(Column.BOUGHT):
        column = Column.BOUGHT if action is Action.BUY else Column.SOLD
    shares = _shares(row, column)
    if not shares:
        return None
    if action is Action.MOVE:
        action = Action.BUY if shares > 0 else Action.SELL
        price = None
    else:
        price = _price(row, abs(shares)) if action is Action.BUY and shares else None
    if action is not Action.SPLIT:
        shares = abs(shares)
    day = row.day(Column.DATE) if row.text(Column.DATE) or action is not Action.BUY else date.min
    position = identify(row, shares, price, notes)
    if row.has_problems():
        return None
    return _Trade(day, _time(row), action, shares, price, position, row.line.number)


def _shares(row: Row, column: Column) -> Decimal:
    """The shares; Robinhood marks shares that go with an S, `10S`."""
    text = row.text(column)
    if text.endswith("S") and is_number(text[:-1]):
        return -(parse_number(text[:-1], row.style.sign) or Decimal(0))
    return row.number(column, signed=column is Column.SHARES) or Decimal(0)


def _time(row: Row) -> str:
    """The time of day in the cell of the day, or in a column of its own."""
    names = [place for place, name in enumerate(row.header) if name in _TIMES]
    texts = (row.text(Column.DATE), *map(row.line.cell, names))
    return next((found[0].zfill(8) for text in texts if (found := _TIME.search(text))), "")


def _price(row: Row, shares: Decimal) -> Decimal | None:
    """The price of a share, or else the amount without fees and taxes, for a share.

    0 by the row's word is a gift. By sign alone it is a corporate action, whose cost is not known.
    """
    prices = [row.number(column, signed=True) for column in (Column.BUY_PRICE, Column.PRICE) if row.has(column)]
    if price := next(filter(None, prices), None):
        return abs(price)
    gift = Decimal(0) if Decimal(0) in prices and row.text(Column.ACTION) else None
    if gross := row.number(Column.GROSS, signed=True):
        return abs(gross) / shares
    amount = row.number(Column.AMOUNT, signed=True)
    if not amount:
        return gift
    costs = sum(abs(row.number(column, signed=True) or Decimal(0)) for column in (Column.FEES, Column.TAXES))
    return max(abs(amount) - costs, Decimal(0)) / shares


def _explain_missing(symbol: str, missing: Decimal) -> str:
    sold = f"{show_number(missing)} {symbol} sold that the log never bought"
    where = "a file of positions, such as the portfolio update, has the remaining shares"
    return f"{sold}: {symbol} was bought before the log begins; {where}"
