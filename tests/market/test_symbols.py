"""What is a symbol: for the parser, for a row, and for whoever types it into the admin."""

import re

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.urls import reverse
from django.utils.html import escape
from hypothesis import example, given
from hypothesis import strategies as st

from market.models import Stock
from market.symbols import InvalidSymbol, number_kind, parse_symbol

GOOD = {
    "AAPL": "AAPL",
    "^GSPC": "^GSPC",
    "EURUSD=X": "EURUSD=X",
    "BTC-USD": "BTC-USD",
    "GC=F": "GC=F",
    "0P000071W8.TO": "0P000071W8.TO",
    "005930.KS": "005930.KS",
    "M&M.NS": "M&M.NS",
    "brk-b": "BRK-B",
    "BRK.B": "BRK-B",
    "bf.a": "BF-A",
    "BBD.B.TO": "BBD-B.TO",
    "VOD.L": "VOD.L",
    "7203.T": "7203.T",
    "ABC.V": "ABC.V",
    "TECK-B.TO": "TECK-B.TO",
    "  msft ": "MSFT",
    "AAPL\n": "AAPL",
    "A" * 32: "A" * 32,
}

NOT_SYMBOLS = {
    "a sign at the end": "AAPL#",
    "a path": "../x",
    "a path to a secret": "../../etc/passwd",
    "an absolute path": "/etc/passwd",
    "a Windows path": "..\\x",
    "MQTT's plus": "A+B",
    "MQTT's levels": "A/B",
    "300 characters": "A" * 300,
    "33 characters": "A" * 33,
    "an emoji": "🚀",
    "an emoji in it": "GME🚀",
    "full-width letters": "\uff21\uff21\uff30\uff2c",
    "a dotless i": "\u0131bm",
    "a long s": "t\u017fla",
    "a Kelvin sign": "\u212aO",
    "a Cyrillic A": "\u0410APL",
    "Arabic digits": "\u0660\u0660\u0665",
    "an accent": "NESTLÉ",
    "a right-to-left mark": "AAPL\u200f.L",
    "a zero-width space": "AA\u200bPL",
    "HTML": "<script>alert(1)</script>",
    "short HTML": "<b>A</b>",
    "SQL": "'; DROP TABLE x;--",
    "a quote": 'A"B',
    "a template": "{{7*7}}",
    "a percent escape": "A%2fB",
    "a question mark": "A?x=1",
    "two symbols": "AAPL,MSFT",
    "a space inside": "BRK B",
    "a tab inside": "BRK\tB",
    "a line break inside": "AAPL\nMSFT",
    "a NUL": "AAPL\0",
    "a NUL alone": "\0",
    "a dot first": ".AAPL",
    "a hyphen first": "-AAPL",
    "an equals sign first": "=CMD",
}
BLANK = {"nothing": "", "spaces": "   ", "a line break": "\n"}

good = pytest.mark.parametrize(("text", "symbol"), GOOD.items(), ids=[repr(text) for text in GOOD])
bad = pytest.mark.parametrize("text", NOT_SYMBOLS.values(), ids=NOT_SYMBOLS)
blank = pytest.mark.parametrize("text", BLANK.values(), ids=BLANK)


@good
def test_a_symbol_is_brought_into_its_one_spelling(text, symbol):
    assert parse_symbol(text) == symbol


@bad
def test_what_is_no_symbol_is_refused_and_shown(text):
    with pytest.raises(InvalidSymbol) as caught:
        parse_symbol(text)

    assert str(caught.value).startswith(repr(text[:32])[:-1])
    assert str(caught.value).isprintable()


@blank
def test_nothing_is_no_symbol(text):
    with pytest.raises(InvalidSymbol, match="A symbol is needed"):
        parse_symbol(text)


ISINS = ("US0378331005", "US5949181045", "AU0000XVGZA3", "GB0002634946", "DE000BASF111", " us0378331005 ")
CUSIPS = ("037833100", "594918104", "38259P508", "17275R102", "68389X105", "02079K305", "g0177j108")


@pytest.mark.parametrize("text", ISINS)
def test_an_isin_is_known_by_its_check_digit(text):
    assert number_kind(text) == "an ISIN"
    last = (int(text.strip()[-1]) + 1) % 10
    assert number_kind(f"{text.strip()[:-1]}{last}") == ""


@pytest.mark.parametrize("text", CUSIPS)
def test_a_cusip_is_known_by_its_check_digit(text):
    assert number_kind(text) == "a CUSIP"
    assert number_kind(f"{text[:-1]}{(int(text[-1]) + 1) % 10}") == ""


@pytest.mark.parametrize("text", [*GOOD, *NOT_SYMBOLS.values(), *BLANK.values()])
def test_symbols_and_other_texts_are_no_numbers_of_securities(text):
    assert number_kind(text) == ""


def test_too_long_a_text_is_shown_shortened():
    with pytest.raises(InvalidSymbol, match=r"'A{32}…' is 300 characters long; a symbol has at most 32\."):
        parse_symbol("A" * 300)


@given(st.text(st.sampled_from("aZ09^=&.-/+# \t\n\0\u0131\uff21\u212a")) | st.text())
@example("brk-b\x1f")
@example("\u0131")
@example("\N{LATIN SMALL LIGATURE FF}")
def test_a_parsed_symbol_is_safe_in_topics_and_paths_and_parses_to_itself(text):
    try:
        symbol = parse_symbol(text)
    except InvalidSymbol:
        return

    assert re.search(r"[/+#\s\x00-\x1f\x7f]", symbol) is None
    assert symbol.isascii()
    assert 1 <= len(symbol) <= 32
    assert not symbol.startswith(".")
    assert parse_symbol(symbol) == symbol == symbol.upper()


@good
@pytest.mark.django_db
def test_a_stock_takes_a_symbol_in_its_one_spelling(text, symbol):
    stock = Stock(symbol=text)

    stock.full_clean()

    assert stock.symbol == symbol


@bad
@pytest.mark.django_db
def test_a_stock_takes_nothing_else(text):
    with pytest.raises(ValidationError) as caught:
        Stock(symbol=text).full_clean()

    assert list(caught.value.message_dict) == ["symbol"]


@blank
@pytest.mark.django_db
def test_a_stock_needs_a_symbol(text):
    with pytest.raises(ValidationError) as caught:
        Stock(symbol=text).full_clean()

    assert list(caught.value.message_dict) == ["symbol"]


@bad
@pytest.mark.django_db
def test_a_row_takes_nothing_else_even_unchecked(text):
    with pytest.raises(ValidationError):
        Stock.objects.create(symbol=text)


@pytest.mark.django_db
def test_a_stock_is_found_by_any_spelling_of_its_symbol():
    stock = Stock.objects.create(symbol="brk-b")

    assert Stock.objects.get(symbol="BRK-B") == stock == Stock.objects.get(symbol=" Brk-b")


# The admin's form


@pytest.fixture
def admin(client, db):
    """A superuser's browser."""
    client.force_login(User.objects.create(username="admin", is_staff=True, is_superuser=True))
    return client


@pytest.fixture
def add(admin):
    """add("AAPL"): the answer to the admin's form for a new stock."""
    return lambda text: admin.post(reverse("admin:market_stock_add"), {"symbol": text, "status": "active"})


@good
def test_the_admin_stores_a_symbol_in_its_one_spelling(add, text, symbol):
    answer = add(text)

    assert answer.status_code == 302
    assert list(Stock.objects.values_list("symbol", flat=True)) == [symbol]


@bad
def test_the_admin_says_what_is_wrong_and_stores_nothing(add, text):
    answer = add(text)

    assert answer.status_code == 200
    messages = answer.context["adminform"].form.errors["symbol"]
    assert messages
    for message in messages:
        assert escape(message) in answer.content.decode()
    assert not Stock.objects.exists()


@blank
def test_the_admin_asks_for_a_symbol(add, text):
    assert "This field is required." in add(text).content.decode()
    assert not Stock.objects.exists()


def test_the_admin_explains_what_a_symbol_is(add):
    assert add("AAPL#").context["adminform"].form.errors["symbol"] == [
        "'AAPL#' is not a symbol; a symbol starts with a letter, a digit or ^, "
        "followed by letters, digits and . - = ^ &"
    ]


def test_markup_typed_as_a_symbol_comes_back_escaped(add):
    page = add("<script>alert(1)</script>").content.decode()

    assert "<script>alert(1)</script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_the_admin_knows_a_stock_in_any_spelling(add):
    add("BRK-B")

    answer = add("brk-b")

    assert answer.context["adminform"].form.errors["symbol"] == ["Stock with this Symbol already exists."]
    assert Stock.objects.count() == 1


@pytest.mark.parametrize("text", ["AAPL#", "<script>", "'; DROP TABLE x;--", "🚀", "a\0b"])
@pytest.mark.parametrize("parameter", ["q", "symbol"])
def test_the_admin_searches_and_filters_for_any_text(admin, text, parameter):
    answer = admin.get(reverse("admin:market_stock_changelist"), {parameter: text}, follow=True)

    assert answer.status_code == 200


# Where symbols and names are shown


def test_markup_in_a_name_is_shown_as_text(client, user, hold):
    (stock,) = hold(user, "M&M.NS")
    stock.name = "<script>alert('name')</script>"
    stock.save()
    client.force_login(user)

    page = client.get("/").content.decode()

    assert "<script>alert(" not in page
    assert escape(stock.name) in page
    assert "M&amp;M.NS" in page
