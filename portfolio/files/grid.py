"""Turns the bytes of a file into lines of cells: text with any usual separator and encoding, or an Excel workbook."""

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from portfolio.files.columns import recognised
from portfolio.files.refused import ImportRefused
from portfolio.files.workbook import is_workbook, read_workbook

LONGEST_FILE = 10_000_000
"""In bytes; 5,000 rows of a broker's file are about a million."""

MOST_LINES = 50_000
"""Lines with text; the predecessor's file has 5,000 a year for 20 positions."""

_SEPARATORS = ",;\t|"
_LINES_TRIED = 60
"""Lines of a text in which a header is looked for, for each separator."""
_ENCODINGS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SPACE_AFTER_QUOTE = re.compile(r'(?<=[^,;\t|\n])" +(?=[,;\t|\r\n])')
"""Merrill writes `"Trade Date" ,`."""
_TEXT_AFTER_QUOTE = re.compile(r'(?<=[,;\t])"([^",;\t\r\n]*)"( [^",;\t\r\n]+)(?=[,;\t\r\n])')
_OTHER_FILES = {
    b"{": "a JSON file",
    b"%PDF": "a PDF",
    b"\xd0\xcf\x11\xe0": "a workbook of Excel 97; save it as .xlsx or CSV",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "a gzip archive",
    b"<!DOCTYPE": "a web page",
    b"<html": "a web page",
    b"\x89PNG": "a picture",
}


@dataclass(frozen=True)
class Line:
    """A line that is not empty. `number`: its last line in the file, or its row in the workbook."""

    number: int
    cells: Sequence[str]

    def cell(self, place: int) -> str:
        """The text without spaces around it; empty beyond the end of the line."""
        return self.cells[place].strip() if place < len(self.cells) else ""

    @property
    def filled(self) -> list[str]:
        return [cell.strip() for cell in self.cells if cell.strip()]


@dataclass(frozen=True)
class Grid:
    """The lines of a file. `separator` is empty for a workbook, whose numbers always have a decimal point."""

    lines: Sequence[Line]
    separator: str = ""


def read_grid(content: bytes) -> Grid:
    """Raises ImportRefused for a file that has no lines of cells."""
    if len(content) > LONGEST_FILE:
        raise ImportRefused(f"the file has {len(content):,} bytes; at most {LONGEST_FILE:,} are read")
    if is_workbook(content):
        return Grid([Line(number, cells) for number, cells in read_workbook(content)])
    for begin, kind in _OTHER_FILES.items():
        if content.lstrip()[: len(begin)].lower() == begin.lower():
            raise ImportRefused(f"this is {kind}, not a CSV file or an Excel workbook (.xlsx)")
    text = _decode(content)
    separator, text = _declared_separator(_repair_quotes(_SPACE_AFTER_QUOTE.sub('"', text)))
    if not separator:
        separator = _best_separator(text)
    lines = list(islice(_lines(text, separator), MOST_LINES + 1))
    if len(lines) > MOST_LINES:
        raise ImportRefused(f"the file has more than {MOST_LINES:,} lines")
    return Grid(lines, separator)


def _decode(content: bytes) -> str:
    """The text of a file in UTF-8, UTF-16 or UTF-32, or in the code page of Windows in western countries."""
    for mark, encoding in _ENCODINGS:
        if content.startswith(mark):
            return _strictly(content, encoding)
    if content[1:40:2].count(0) > 10:
        return _strictly(content, "utf-16-le")
    if content[:40:2].count(0) > 10:
        return _strictly(content, "utf-16-be")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")
    if "\0" in text:
        raise ImportRefused("this is not a text file: it contains NUL")
    return text


def _strictly(content: bytes, encoding: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ImportRefused(f"the file is cut off: it is not complete {encoding.upper()} ({error.reason})") from None


def _declared_separator(text: str) -> tuple[str, str]:
    """The separator of a first line such as `sep=;`, and the text with an empty first line."""
    first, end, rest = text.partition("\n")
    declared = first.strip().strip('"').lower()
    if declared.startswith("sep=") and len(declared) <= 5:
        return declared[4:] or "\t", end + rest
    return "", text


def _best_separator(text: str) -> str:
    """The separator that gives a line the most known names of columns; else the most frequent separator."""
    begin = "".join(text.splitlines(keepends=True)[:_LINES_TRIED])

    def weigh(separator: str) -> tuple[int, int]:
        try:
            names = max((recognised(line.cells) for line in _lines(begin, separator, strict=False)), default=0)
        except ImportRefused:
            names = 0
        return names, begin.count(separator)

    return max(_SEPARATORS, key=weigh)


def _lines(text: str, separator: str, *, strict: bool = True) -> Iterator[Line]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=strict, skipinitialspace=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield Line(reader.line_num, cells)
    except csv.Error as error:
        raise ImportRefused(f"line {reader.line_num}: this is not CSV: {error}") from None


def _repair_quotes(text: str) -> str:
    """Quote the rest of a cell, too: Fidelity writes `"Individual" X123`."""
    return _TEXT_AFTER_QUOTE.sub(r"\1\2", text)
