"""Reads an Excel workbook (.xlsx): its cells as text, with a limit on everything that a file can inflate."""

import io
import zipfile
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from portfolio.files.refused import ImportRefused

LARGEST_UNPACKED = 100_000_000
"""In bytes: the most that the parts of a workbook may have together."""
MOST_ROWS = 200_000
MOST_CELLS = 100
"""The last row of a sheet, and cell of a row, that is read."""


def is_workbook(content: bytes) -> bool:
    """Whether the content is a ZIP archive with the parts of a workbook."""
    if not content.startswith(b"PK\x03\x04"):
        return False
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return "xl/workbook.xml" in archive.namelist()
    except zipfile.BadZipFile:
        raise ImportRefused("this is not a complete workbook: the archive is broken") from None


def read_workbook(content: bytes) -> list[tuple[int, list[str]]]:
    """The rows with text, each with its number; the sheets follow each other.

    Formulas count with the value that was last computed. Raises ImportRefused.
    """
    # openpyxl imports numpy, and the web process should have it only if somebody imports a workbook.
    import openpyxl
    from openpyxl.utils.exceptions import InvalidFileException

    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        size = sum(part.file_size for part in archive.infolist())
    if size > LARGEST_UNPACKED:
        raise ImportRefused(f"the workbook unpacks to {size:,} bytes; at most {LARGEST_UNPACKED:,} are read")
    try:
        book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True, keep_links=False)
        return list(_rows(book))
    except ImportRefused:
        raise
    except (zipfile.BadZipFile, InvalidFileException, KeyError, OSError, ValueError, TypeError, SyntaxError) as error:
        # openpyxl has no error of its own for a damaged part; a broken XML is a SyntaxError.
        raise ImportRefused(
            f"this workbook cannot be read ({type(error).__name__}); save it again or as CSV"
        ) from None


def _rows(book: Any) -> Iterator[tuple[int, list[str]]]:
    # Zerodha and Sharesight repeat their other sheets in this one.
    sheets = [sheet for sheet in book.worksheets if sheet.title != "Combined"] or book.worksheets
    for sheet in sheets:
        for number, row in enumerate(sheet.iter_rows(max_col=MOST_CELLS, values_only=True), start=1):
            if number > MOST_ROWS:
                raise ImportRefused(f"the sheet {sheet.title!r} has more than {MOST_ROWS:,} rows")
            cells = [_text(value) for value in row]
            while cells and not cells[-1]:
                cells.pop()
            if cells:
                yield number, cells


def _text(value: Any) -> str:
    """Numbers with a decimal point, days as 2026-01-31."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{Decimal(repr(value)):f}"
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == datetime.min.time() else value.isoformat(sep=" ")
    return value.isoformat() if isinstance(value, date) else str(value).strip()
