"""Text in any usual encoding and with any usual separator, and workbooks, become lines of cells."""

import io
import zipfile
from collections.abc import Sequence

import openpyxl
import pytest

from portfolio.files import workbook
from portfolio.files.grid import LONGEST_FILE, read_grid
from portfolio.files.refused import ImportRefused

PLAIN = "symbol,shares,buy_price\nAAPL,10,150\n"


def cells(content: bytes) -> list[list[str]]:
    return [list(line.cells) for line in read_grid(content).lines]


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "latin-1"]
)
def test_the_encoding_is_told_by_the_bytes(encoding):
    assert cells(PLAIN.encode(encoding)) == [["symbol", "shares", "buy_price"], ["AAPL", "10", "150"]]


def test_letters_of_western_europe_are_read_in_both_encodings():
    text = "Produkt,Stück,Symbol\nSüdzucker,1,SZU.DE\n"
    assert cells(text.encode("cp1252")) == cells(text.encode()) == [line.split(",") for line in text.splitlines()]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_is_the_one_that_gives_known_columns(separator):
    assert cells(PLAIN.replace(",", separator).encode())[1] == ["AAPL", "10", "150"]


def test_the_separator_can_be_declared_for_excel():
    assert cells(b"sep=;\r\n" + PLAIN.replace(",", ";").encode())[1] == ["AAPL", "10", "150"]


def test_a_separator_of_many_lines_that_gives_no_columns_is_not_taken():
    preamble = "one; two; three; four; five; six\n" * 20
    assert cells((preamble + PLAIN).encode())[-1] == ["AAPL", "10", "150"]


def test_lines_are_numbered_as_in_the_file():
    lines = read_grid(b'symbol,shares,name\n\nAAPL,1,"Apple\nInc"\n\nMSFT,1,x\n').lines
    assert [line.number for line in lines] == [1, 4, 6]


def test_spaces_after_a_quote_are_no_error():
    assert cells(b'"symbol" ,"shares" ,"buy_price" \n"AAPL" ,"1,000" ,"2" \n')[1] == ["AAPL", "1,000", "2"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"%PDF-1.7\n", "this is a PDF"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a workbook of Excel 97; save it as .xlsx or CSV"),
        (b"<!doctype html><html>", "this is a web page"),
        (b"\x1f\x8b\x08\x00", "a gzip archive"),
        (b"PK\x03\x04 but cut off", "the archive is broken"),
        (b"symbol,shares\nAA\0PL,1\n", "it contains NUL"),
        (PLAIN.encode("utf-16")[:-1], "the file is cut off"),
        (b'symbol,shares\n"AAPL,1\n', "line 2: this is not CSV"),
        (b"x" * (LONGEST_FILE + 1), "at most 10,000,000 are read"),
    ],
)
def test_a_file_of_another_kind_is_refused_by_its_name(content, problem):
    with pytest.raises(ImportRefused, match=problem):
        read_grid(content)


def book(*sheets: Sequence[Sequence[object]], titles: list[str] | None = None) -> bytes:
    made = openpyxl.Workbook(write_only=True)
    for number, rows in enumerate(sheets):
        sheet = made.create_sheet(titles[number] if titles else None)
        for row in rows:
            sheet.append(row)
    out = io.BytesIO()
    made.save(out)
    return out.getvalue()


def test_a_workbook_has_numbers_with_a_decimal_point():
    grid = read_grid(book([["symbol", "shares", "buy_price"], ["AAPL", 1000, 1.125], [None], ["MSFT", 1.5, 1e-05]]))
    assert [list(line.cells) for line in grid.lines][1:] == [["AAPL", "1000", "1.125"], ["MSFT", "1.5", "0.00001"]]
    assert [line.number for line in grid.lines] == [1, 2, 4]
    assert grid.separator == ""


def test_a_formula_without_a_computed_value_is_an_empty_cell():
    assert cells(book([["symbol", "shares"], ["AAPL", "=1+1"]]))[1] == ["AAPL"]


def test_a_sheet_that_repeats_the_others_is_left_out():
    rows: list[list[object]] = [["symbol", "shares"], ["AAPL", 1]]
    assert len(cells(book(rows, rows, titles=["Equity", "Combined"]))) == 2


def test_a_workbook_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(monkeypatch):
    monkeypatch.setattr(workbook, "LARGEST_UNPACKED", 1_000_000)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.xml", b"<workbook/>")
        archive.writestr("xl/worksheets/sheet1.xml", b" " * 2_000_000)
    with pytest.raises(ImportRefused, match="unpacks to 2,000,011 bytes"):
        read_grid(out.getvalue())


@pytest.mark.parametrize("part", ["xl/workbook.xml", "xl/worksheets/sheet1.xml", "[Content_Types].xml"])
@pytest.mark.parametrize(
    "content",
    [b"", b"<", b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>', b"<x/>"],
    ids=["empty", "broken", "entity", "x"],
)
def test_a_damaged_workbook_is_refused_or_empty(part, content):
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(book([["symbol"]]))) as whole, zipfile.ZipFile(out, "w") as damaged:
        for name in whole.namelist():
            damaged.writestr(name, content if name == part else whole.read(name))
    assert problem_of(out.getvalue()) in ("", "this workbook cannot be read")


def problem_of(content: bytes) -> str:
    """The beginning of the refusal; empty for a file that is read."""
    try:
        read_grid(content)
    except ImportRefused as refused:
        return str(refused).partition(" (")[0]
    return ""
