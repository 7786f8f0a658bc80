"""Symbols of other programs become Yahoo's."""

import pytest

from market.foreign_symbols import exchange_suffix, translate_symbol
from market.symbols import InvalidSymbol


@pytest.mark.parametrize(
    ("text", "symbol"),
    [
        ("aapl", "AAPL"),
        ("BRK-B", "BRK-B"),
        ("BRK.B", "BRK-B"),
        ("BRK/B", "BRK-B"),
        ("BRK B", "BRK-B"),
        ("BRKB", "BRK-B"),
        ("NYSE:BRK.B", "BRK-B"),
        ("NASDAQ: AAPL", "AAPL"),
        ("LON:VOD", "VOD.L"),
        ("VOD:LSE", "VOD.L"),
        ("VOD LN", "VOD.L"),
        ("VOD LN Equity", "VOD.L"),
        ("AAPL US", "AAPL"),
        ("AAPL_US_EQ", "AAPL"),
        ("AAPL.US", "AAPL"),
        ("SAP.XETRA", "SAP.DE"),
        ("SAP.DE", "SAP.DE"),
        ("ETR:SAP", "SAP.DE"),
        ("TSE:RCI.B", "RCI-B.TO"),
        ("RELIANCE-EQ", "RELIANCE.NS"),
        ("BAJAJ-AUTO", "BAJAJ-AUTO"),
        ("HKG:700", "0700.HK"),
        ("5 HK", "0005.HK"),
        ("BAC PRL", "BAC-PL"),
        ("BAC/PRL", "BAC-PL"),
        ("NOVA/WS", "NOVA-WT"),
        ("STO:VOLV B", "VOLV-B.ST"),
        ("^GSPC", "^GSPC"),
        ("EURUSD=X", "EURUSD=X"),
        ("BTC-USD", "BTC-USD"),
    ],
)
def test_a_symbol_is_translated(text, symbol):
    assert translate_symbol(text) == symbol


@pytest.mark.parametrize(
    ("text", "exchange", "symbol"),
    [
        ("AAPL", "NASDAQ", "AAPL"),
        ("BHP", "ASX", "BHP.AX"),
        ("VOD", "lse", "VOD.L"),
        ("SAP.DE", "XETRA", "SAP.DE"),
        ("INFY", "NSE", "INFY.NS"),
        ("AAPL", "no exchange of this world", "AAPL"),
        ("AAPL", "NASDAQ Global Select", "AAPL"),
    ],
)
def test_the_exchange_of_the_row_gives_the_suffix(text, exchange, symbol):
    assert translate_symbol(text, exchange) == symbol


@pytest.mark.parametrize("text", ["", "MARS:AAPL", "<b>", "two words more", "A" * 40])
def test_a_text_that_is_no_symbol_is_named_in_the_error(text):
    with pytest.raises(InvalidSymbol) as error:
        translate_symbol(text)
    assert text[:20] in str(error.value)


def test_an_unknown_exchange_has_no_suffix_and_one_in_the_united_states_an_empty_one():
    assert (exchange_suffix("MARS"), exchange_suffix("NYSE")) == (None, "")
