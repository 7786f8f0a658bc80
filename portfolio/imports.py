"""Changes a portfolio to match a file, and describes each change."""

from dataclasses import dataclass, field
from decimal import Decimal

from django.contrib.auth.models import User
from django.db import transaction

from market.models import Stock
from portfolio.models import Holding, Portfolio
from portfolio.statement_file import Statement
from portfolio.statement_rows import Position, show_number

PORTFOLIO = "Main"
"""The default portfolio of an import."""


@dataclass
class Imported:
    """The changes of an import to the holdings of a portfolio, in lines for people: `line 4: AAPL, 10 at 150`.

    `new_stocks`: symbols of created stocks.
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
        noted = len(self.statement.notes)
        notes = f"; {noted} note{'' if noted == 1 else 's'}" if noted else ""
        return f"{', '.join(parts) or 'no changes'}; {len(self.unchanged)} unchanged{notes}"

    @property
    def changes_something(self) -> bool:
        return bool(self.new_portfolio or self.added or self.changed or self.removed)


def import_statement(statement: Statement, user: User, name: str = PORTFOLIO) -> Imported:
    """Change the user's portfolio to match the statement; a repetition changes nothing.

    The portfolio and unknown stocks are created. A position without a buy price keeps the stored price. Concurrent
    imports into the same portfolio wait for each other. The number of queries does not depend on the number of
    positions (on SQLite, one more for every 4,000).
    """
    imported = Imported(statement)
    with transaction.atomic():
        portfolio, imported.new_portfolio = Portfolio.objects.select_for_update().get_or_create(user=user, name=name)
        # Sorted, so that two imports wait for each other instead of deadlocking.
        symbols = sorted(position.symbol for position in statement.positions)
        stocks = Stock.objects.in_bulk(symbols, field_name="symbol")
        imported.new_stocks = [symbol for symbol in symbols if symbol not in stocks]
        if imported.new_stocks:
            Stock.objects.bulk_create((Stock(symbol=symbol) for symbol in imported.new_stocks), ignore_conflicts=True)
            stocks |= Stock.objects.in_bulk(imported.new_stocks, field_name="symbol")
        held = {holding.stock.symbol: holding for holding in portfolio.holdings.select_related("stock")}
        written = []
        for position in statement.positions:
            holding = held.pop(position.symbol, None)
            price = _price_of(position, holding)
            told = f"line {position.line}: {position.symbol}, {_show(position.shares, price)}"
            if price != position.buy_price:
                told += " (the stored price; the file has none)"
            if holding is not None and (holding.shares, holding.buy_price) == (position.shares, price):
                imported.unchanged.append(told)
                continue
            if holding is None:
                imported.added.append(told)
            else:
                imported.changed.append(f"{told} (was {_show(holding.shares, holding.buy_price)})")
            written.append(
                Holding(
                    portfolio=portfolio,
                    stock=stocks[position.symbol],
                    shares=position.shares,
                    buy_price=price,
                )
            )
        Holding.objects.bulk_create(
            written,
            update_conflicts=True,
            unique_fields=["portfolio", "stock"],
            update_fields=["shares", "buy_price"],
        )
        if statement.whole:
            gone = {symbol: one for symbol, one in held.items() if symbol not in statement.uncertain}
            imported.removed = [
                f"{symbol}, {_show(one.shares, one.buy_price)}: not in the file" for symbol, one in gone.items()
            ]
            portfolio.holdings.filter(stock__symbol__in=gone).delete()
    return imported


def _price_of(position: Position, holding: Holding | None) -> Decimal | None:
    """The file's buy price, or else the stored price."""
    return holding.buy_price if position.buy_price is None and holding is not None else position.buy_price


def _show(shares: Decimal, price: Decimal | None) -> str:
    return f"{show_number(shares)} at {'an unknown buy price' if price is None else show_number(price)}"
