"""Numbers and days are read as people and programs write them."""

from datetime import date
from decimal import Decimal

import pytest

from portfolio.files.days import has_month_first, parse_day
from portfolio.files.numbers import NotANumber, decimal_sign, parse_number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1250", "1250"),
        ("1,250", "1250"),
        ("1,150.25", "1150.25"),
        ("1.150,25", "1150.25"),
        ("1,23,456.78", "123456.78"),
        ("1'234.50", "1234.50"),
        ("1\u2019234.50", "1234.50"),
        ("1\u00a0259,60", "1259.60"),
        ("0.125", "0.125"),
        ("10,5", "10.5"),
        (".5", "0.5"),
        ("-.02", "-0.02"),
        ("9.0E-6", "0.0000090"),
        ("$1,150.25", "1150.25"),
        ("US$ 12", "12"),
        ("12 €", "12"),
        ("USD 12.00", "12"),
        ("12.00 CHF", "12"),
        ("GBX 70.5", "70.5"),
        ("+$11,945.20", "11945.20"),
        ("-$110.00", "-110"),
        ("($2,233.58)", "-2233.58"),
        ("(3.50)", "-3.50"),
        ("\u2212629,80", "-629.80"),
        ("200-", "-200"),
        ("'12", "12"),
    ],
)
def test_a_number_is_read(text, number):
    assert parse_number(text) == Decimal(number)


@pytest.mark.parametrize("text", ["", " ", "--", "-", "n/a", "N/A", "null", "\u2014", "Not available"])
def test_a_mark_for_no_number_is_none(text):
    assert parse_number(text) is None


@pytest.mark.parametrize(
    "text", ["ten", "1.2.3", "1,2,3", "12,34,5", "10x", "x10", "1e", "=1+1", "NaN", "Infinity", "1 2 3 4x", "9" * 61]
)
def test_any_other_text_is_not_a_number(text):
    with pytest.raises(NotANumber):
        parse_number(text)


@pytest.mark.parametrize(
    ("texts", "otherwise", "sign"),
    [
        (["1.000", "7,40"], ".", ","),
        (["1.000", "7.40"], ",", "."),
        (["1.000", "2.000"], ",", ","),
        (["1,000", "2,000"], ".", "."),
        (["1,5", "1.5"], ".", "."),
        (["1,5", "2,5", "1.5"], ".", ","),
        ([], ",", ","),
    ],
)
def test_the_decimal_sign_of_a_table_is_what_most_numbers_show(texts, otherwise, sign):
    assert decimal_sign(texts, otherwise) == sign


def test_a_number_in_groups_means_what_the_table_shows():
    assert (parse_number("1.000", ","), parse_number("1.000", ".")) == (Decimal(1000), Decimal(1))


@pytest.mark.parametrize(
    "text",
    [
        *("2026-03-02", "20260302", "2026/03/02", "2026-03-02T09:30:00Z", "2026-03-02 09:30", "20260302;093000"),
        *("2026-03-02, 12:46:38", "3/2/2026", "03/02/26", "Mar 2, 2026", "02-Mar-2026", "03/02/2026 as of 03/01/2026"),
    ],
)
def test_a_day_is_read(text):
    assert parse_day(text, month_first=True) == date(2026, 3, 2)


@pytest.mark.parametrize("text", ["", "Monday", "2026-13-02", "32/01/2026", "12", "AAPL", "1/2"])
def test_any_other_text_is_no_day(text):
    assert parse_day(text, month_first=False) is None


@pytest.mark.parametrize(
    ("texts", "is_month_first"),
    [
        (["3/2/2026"], True),
        (["02.03.2026"], False),
        (["02-03-2026"], False),
        (["13/2/2026", "1/2/2026"], False),
        (["02-13-2026"], True),
        (["01/09/2020", "15/10/2020"], False),
        (["02/08/2019", "01/09/2020", "01/11/2020"], True),
        (["05/11/2020", "06/10/2020", "07/09/2020"], True),
    ],
)
def test_the_order_of_day_and_month_is_what_fits_all_days_and_keeps_their_order(texts, is_month_first):
    assert has_month_first(texts) is is_month_first
