"""The content of a file about a portfolio, as it was understood."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal

from portfolio.files.lots import Lots
from portfolio.files.numbers import round_number
from portfolio.files.rows import Lines


@dataclass(frozen=True)
class FilePosition:
    """Shares of a stock, and their average cost: None if the file has none. `line` is the line in the file.

    A position without a `symbol` has a security's `number`, such as an ISIN, or the `name` alone. `account`: the
    file's name of the account; may be empty. `currency`: of the price, as the file names it.
    """

    symbol: str
    shares: Decimal
    buy_price: Decimal | None
    line: int
    number: str = ""
    name: str = ""
    account: str = ""
    currency: str = field(default="", compare=False)

    @property
    def key(self) -> str:
        """The file's name of the stock."""
        return self.symbol or self.number or self.name

    @property
    def place(self) -> tuple[str, str]:
        return self.account, self.key


def add_up_positions(lots: Iterable[FilePosition]) -> list[FilePosition]:
    """A position for each stock and account: its shares, at their average cost; the first lot's line."""
    same: dict[tuple[str, str], list[FilePosition]] = {}
    for lot in lots:
        same.setdefault(lot.place, []).append(lot)
    return [_add_up(parts) for parts in same.values()]


def _add_up(parts: Sequence[FilePosition]) -> FilePosition:
    total = Lots()
    for part in parts:
        total.buy(part.shares, part.buy_price)
    return replace(parts[0], shares=round_number(total.shares), buy_price=total.price)


@dataclass(frozen=True)
class FileContent:
    """`whole`: the file is the complete portfolio, and a missing stock was sold.

    `notes` name each line without effect, with the reason. `uncertain`: symbols whose remaining shares the file does
    not show; the import keeps their holdings. `names_portfolios`: the accounts are portfolios, as in an export.
    """

    kind: str
    positions: Sequence[FilePosition]
    whole: bool = False
    day: date | None = None
    notes: Sequence[str] = ()
    uncertain: Sequence[str] = ()
    names_portfolios: bool = False

    def __str__(self) -> str:
        count = len(self.positions)
        of_day = f" of {self.day}" if self.day else ""
        return f"{self.kind}{of_day}, {count} position{'' if count == 1 else 's'}"

    @property
    def accounts(self) -> list[str]:
        return list(dict.fromkeys(position.account for position in self.positions))

    @property
    def unresolved(self) -> list[FilePosition]:
        """The positions without a symbol."""
        return [position for position in self.positions if not position.symbol]


def tell(lines: Lines) -> tuple[str, ...]:
    """Number and join the texts, in the order of the file, each text once."""
    return tuple(f"line {line}: {what}" for line, what in sorted(set(lines)))
