"""Changes portfolios to match a file, and describes each change."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from django.contrib.auth.models import User
from django.db import transaction

from market.models import Stock
from market.security_numbers import symbols_of
from market.symbols import number_kind
from portfolio.files.content import FileContent, FilePosition, add_up_positions
from portfolio.files.numbers import show_number
from portfolio.files.refused import ImportRefused
from portfolio.models import AssignedSymbol, Holding, Portfolio

PORTFOLIO = "Main"
"""The portfolio of a file about one account, where no name is given."""


@dataclass
class Imported:
    """The changes of an import to the holdings of a portfolio, in lines for people: `line 4: AAPL, 10 at 150`.

    `new_stocks`: symbols of created stocks.
    """

    portfolio: str
    is_new: bool = False
    new_stocks: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts = (("added", self.added), ("changed", self.changed), ("removed", self.removed))
        parts = [f"{len(lines)} {name}" for name, lines in counts if lines]
        return f"{', '.join(parts) or 'no changes'}; {len(self.unchanged)} unchanged"

    @property
    def changes_something(self) -> bool:
        return bool(self.is_new or self.added or self.changed or self.removed)


@dataclass
class ImportedFile:
    """The changes by a file. `portfolios` has an item for each portfolio."""

    content: FileContent
    portfolios: list[Imported]

    def __str__(self) -> str:
        several = len(self.portfolios) > 1
        told = "; ".join(f"{one.portfolio}: {one}" if several else str(one) for one in self.portfolios)
        return told + self._count_notes()

    def describe(self, portfolio: Imported) -> str:
        """The changes to a single portfolio."""
        return f"{portfolio}{self._count_notes()}"

    def _count_notes(self) -> str:
        noted = len(self.content.notes)
        return f"; {noted} note{'' if noted == 1 else 's'}" if noted else ""

    @property
    def changes_something(self) -> bool:
        return any(one.changes_something for one in self.portfolios)

    @property
    def new_stocks(self) -> list[str]:
        return list(dict.fromkeys(symbol for one in self.portfolios for symbol in one.new_stocks))


def plan_import(content: FileContent, user: User, name: str = "") -> ImportedFile:
    """The changes that import_file() would make, without writing anything. Raises ImportRefused."""
    content = resolve(content, user)
    portfolios = {portfolio.name: portfolio for portfolio in Portfolio.objects.filter(user=user)}
    return ImportedFile(
        content, [_compare(part, portfolios.get(part.portfolio)).imported for part in _parts(content, name)]
    )


def import_file(content: FileContent, user: User, name: str = "") -> ImportedFile:
    """Change the user's portfolios to match a file; a repetition changes nothing. Raises ImportRefused.

    A file with several accounts becomes a portfolio for each, with the account's name, except if `name` is given.
    Portfolios and unknown stocks are created. A position without a buy price keeps the stored price. Concurrent
    imports into the same portfolio wait for each other. The number of queries does not depend on the number of
    positions (on SQLite, one more for every 4,000).
    """
    content = resolve(content, user)
    with transaction.atomic():
        return ImportedFile(content, [_import(part, user) for part in _parts(content, name)])


def with_known_symbols(content: FileContent, user: User) -> FileContent:
    """Give the symbols that are known to positions without a symbol; the user's own symbols come first."""
    unknown = [position.key for position in content.unresolved]
    if not unknown:
        return content
    own = AssignedSymbol.objects.filter(user=user, number__in=unknown).values_list("number", "symbol")
    symbols = symbols_of(unknown) | dict(own)
    known = [replace(one, symbol=one.symbol or symbols.get(one.key, "")) for one in content.positions]
    return replace(content, positions=known)


def resolve(content: FileContent, user: User) -> FileContent:
    """Give the known symbols to positions without a symbol; leave out the rest, with a note for each.

    In a file that is the complete portfolio, a line less would be a sale, so such a file is refused: ImportRefused.
    """
    resolved = with_known_symbols(content, user)
    known = resolved.positions
    problems = [_explain_unresolved(one) for one in resolved.unresolved]
    if problems and (content.whole or len(problems) == len(known)):
        raise ImportRefused(*(f"line {line}: {key} {why}" for line, key, why in problems), *content.notes)
    return replace(
        resolved,
        positions=add_up_positions(position for position in known if position.symbol),
        notes=(*content.notes, *(f"line {line}: {key}, left out: it {why}" for line, key, why in problems)),
    )


def _explain_unresolved(position: FilePosition) -> tuple[int, str, str]:
    """The line, the file's name of the stock, and the problem."""
    what = number_kind(position.number) or ("a security's number" if position.number else "a name")
    return position.line, position.key[:40], f"is {what}, not a symbol; write the symbol, such as AAPL"


@dataclass(frozen=True)
class _Part:
    """The positions of a file for a portfolio."""

    portfolio: str
    positions: Sequence[FilePosition]
    content: FileContent


def _parts(content: FileContent, name: str) -> list[_Part]:
    accounts = content.accounts
    if name or (len(accounts) < 2 and not content.names_portfolios):
        together = add_up_positions(replace(position, account="") for position in content.positions)
        return [_Part(name or PORTFOLIO, together, content)]
    return [
        _Part(account or PORTFOLIO, [one for one in content.positions if one.account == account], content)
        for account in accounts
    ]


@dataclass(frozen=True)
class _Changes:
    """`written`: the positions that differ from the holdings, each with its price. `gone`: symbols to remove."""

    imported: Imported
    written: Sequence[tuple[FilePosition, Decimal | None]]
    gone: Sequence[str]


def _import(part: _Part, user: User) -> Imported:
    portfolio, is_new = Portfolio.objects.select_for_update().get_or_create(user=user, name=part.portfolio)
    changes = _compare(part, portfolio)
    changes.imported.is_new = is_new
    Stock.objects.bulk_create((Stock(symbol=symbol) for symbol in changes.imported.new_stocks), ignore_conflicts=True)
    stocks = Stock.objects.in_bulk([position.symbol for position, _price in changes.written], field_name="symbol")
    Holding.objects.bulk_create(
        (
            Holding(portfolio=portfolio, stock=stocks[position.symbol], shares=position.shares, buy_price=price)
            for position, price in changes.written
        ),
        update_conflicts=True,
        unique_fields=["portfolio", "stock"],
        update_fields=["shares", "buy_price", "as_of"],
    )
    if changes.gone:
        portfolio.holdings.filter(stock__symbol__in=changes.gone).delete()
    return changes.imported


def _compare(part: _Part, portfolio: Portfolio | None) -> _Changes:
    """The differences between a portfolio and the file."""
    imported = Imported(part.portfolio, is_new=portfolio is None)
    # Sorted, so that two imports that create stocks wait for each other instead of deadlocking.
    symbols = sorted(position.symbol for position in part.positions)
    known = Stock.objects.in_bulk(symbols, field_name="symbol")
    imported.new_stocks = [symbol for symbol in symbols if symbol not in known]
    holdings = portfolio.holdings.select_related("stock") if portfolio else ()
    held = {holding.stock.symbol: holding for holding in holdings}
    written: list[tuple[FilePosition, Decimal | None]] = []
    for position in part.positions:
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
        written.append((position, price))
    gone = [symbol for symbol in held if part.content.whole and symbol not in part.content.uncertain]
    imported.removed = [
        f"{symbol}, {_show(held[symbol].shares, held[symbol].buy_price)}: not in the file" for symbol in gone
    ]
    return _Changes(imported, written, gone)


def _price_of(position: FilePosition, holding: Holding | None) -> Decimal | None:
    """The file's buy price, or else the stored price."""
    return holding.buy_price if position.buy_price is None and holding is not None else position.buy_price


def _show(shares: Decimal, price: Decimal | None) -> str:
    return f"{show_number(shares)} at {'an unknown buy price' if price is None else show_number(price)}"
