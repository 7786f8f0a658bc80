"""The lines of a table as rows, with the table's way to write numbers and days."""

from collections.abc import Iterator, Mapping

from portfolio.files.columns import Column, fold
from portfolio.files.days import has_month_first
from portfolio.files.numbers import DecimalSign, decimal_sign, is_number
from portfolio.files.rows import Lines, Row, Style
from portfolio.files.tables import Table

_NUMBERS = (
    *(Column.SHARES, Column.BUY_PRICE, Column.TOTAL_COST, Column.PRICE, Column.AMOUNT, Column.BOUGHT, Column.SOLD),
    *(Column.SELL_PRICE, Column.FEES, Column.GROSS, Column.WORTH),
)
_QUANTITIES = (Column.SHARES, Column.BOUGHT, Column.SOLD)


def rows_of(table: Table, separator: str, listings: Mapping[str, str], problems: Lines) -> Iterator[Row]:
    """The rows of a table. A line of another shape is a problem if it has a symbol and a number."""
    style = style_of(table, separator)
    names, last = table.names, max(table.columns.values())
    header = [fold(cell) for cell in table.header.cells]
    width = len(header)
    quantities = [column for column in _QUANTITIES if column in table.columns]
    for line in table.lines:
        row = Row(line, table.columns, names, style, problems, header, table.account, listings)
        cells = len(line.cells)
        if cells > last and not any(cell.strip() for cell in line.cells[width:]):
            yield row
        elif row.is_sum_or_cash():
            yield row  # E*TRADE writes them in another shape
        elif any(row.has_number(column) for column in quantities) or _is_shifted(row):
            row.complain(f"{cells} values where the header has {width}")


def _is_shifted(row: Row) -> bool:
    """Whether a line of another shape has a symbol, and a number in any cell: a comma in a name shifts the cells."""
    if not row.has(Column.SYMBOL) or not row.has_symbol() or row.why_no_stock():
        return False
    return any(is_number(cell) for cell in row.line.cells[1:])


def style_of(table: Table, separator: str) -> Style:
    """Semicolons tell that the comma is the decimal sign, if no number tells otherwise."""
    places = [table.columns[column] for column in _NUMBERS if column in table.columns]
    otherwise: DecimalSign = "," if separator == ";" else "."
    sign: DecimalSign = "."
    if separator:
        sign = decimal_sign((line.cell(place) for line in table.lines for place in places), otherwise)
    day = table.columns.get(Column.DATE)
    month_first = day is not None and has_month_first(line.cell(day) for line in table.lines)
    return Style(sign, month_first)
