"""Finds the tables of a file: a line with known names of columns, and the lines of the same shape below it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from portfolio.files.columns import Column, columns_of, fold, is_header
from portfolio.files.grid import Line
from portfolio.files.numbers import is_number


@dataclass
class Table:
    """`titles`: lines of a single cell above the table. `account`: the account that a title names; may be empty."""

    header: Line
    columns: Mapping[Column, int]
    titles: Sequence[str] = ()
    account: str = ""
    lines: list[Line] = field(default_factory=list)

    @property
    def names(self) -> dict[Column, str]:
        """The file's names of the known columns."""
        return {column: self.header.cell(place) for column, place in self.columns.items()}


Assigned = Mapping[tuple[str, ...], Mapping[Column, int]]
"""The places of columns, as a person has assigned them, for each header (`names_in` of its line)."""


def names_in(line: Line) -> tuple[str, ...]:
    """The cells of a line without spaces around them, and without empty cells at the end."""
    names = [cell.strip() for cell in line.cells]
    while names and not names[-1]:
        names.pop()
    return tuple(names)


def find_tables(lines: Iterable[Line], assigned: Assigned) -> list[Table]:
    """The tables of a file, in its order."""
    tables: list[Table] = []
    titles: list[str] = []
    for line in _without_sections(lines):
        columns = _columns(line, assigned)
        if columns is not None:
            if tables and _has_same_names(tables[-1].header, line) and not titles:
                continue
            tables.append(Table(line, columns, titles))
            if any(map(is_number, line.filled)):
                tables[-1].lines.append(line)  # a file without names, whose columns a person has assigned
            titles = []
        elif _is_title(line):
            titles.append(", ".join(line.filled))
        elif tables:
            tables[-1].lines.append(line)
            titles = []
    return tables


def _is_title(line: Line) -> bool:
    """Whether a line is text in a single cell, or in two because of a comma in the text."""
    return len(line.filled) == 1 or (len(line.cells) == 2 and not any(map(is_number, line.filled)))


def _columns(line: Line, assigned: Assigned) -> Mapping[Column, int] | None:
    """The columns of a header; None for any other line."""
    if assigned and (columns := assigned.get(names_in(line))):
        return columns
    return columns_of(line.cells) if is_header(line.cells) else None


def _has_same_names(header: Line, line: Line) -> bool:
    return names_in(header) == names_in(line)


_SECTION_LINES = frozenset({"Header", "Data", "SubTotal", "Total", "Notes"})
_SECTIONS = frozenset({"Open Positions", "Long Open Positions", "Trades", "Transaction History"})


def _without_sections(lines: Iterable[Line]) -> Iterator[Line]:
    """Keep the positions and trades of a statement of Interactive Brokers, without the two cells before each line.

    Its lines begin as `Open Positions,Data`. Other sections and sums are left out.
    """
    for line in lines:
        if line.cell(1) not in _SECTION_LINES or len(line.cells) < 4:
            yield line
        elif line.cell(0) in _SECTIONS and line.cell(1) in ("Header", "Data"):
            yield Line(line.number, line.cells[2:])


def listings_of(lines: Iterable[Line]) -> dict[str, str]:
    """The exchange of each symbol, where a statement of Interactive Brokers lists its instruments."""
    found: dict[str, str] = {}
    symbol = exchange = -1
    for line in lines:
        if line.cell(0) != "Financial Instrument Information":
            continue
        if line.cell(1) == "Header":
            names = [fold(cell) for cell in line.cells]
            symbol = names.index("symbol") if "symbol" in names else -1
            exchange = names.index("listing exch") if "listing exch" in names else -1
        elif symbol >= 0 and exchange >= 0:
            found |= {one.strip(): line.cell(exchange) for one in line.cell(symbol).split(",")}
    return found
