"""These fixtures serve several test files of market data."""

import pytest

from market.models import Stock
from market.sources.yahoo.source import YahooFinance
from tests.support.yahoo_histories import new_symbols


@pytest.fixture
def aapl() -> Stock:
    return Stock.objects.create(symbol="AAPL", exchange="NMS", source="yahoo_finance")


@pytest.fixture
def yahoo_source(yahoo) -> YahooFinance:
    return YahooFinance()


@pytest.fixture
def symbol(yahoo) -> str:
    """A symbol that Yahoo knows, and that has never been asked for."""
    symbol = next(new_symbols)
    yahoo.serve(symbol)
    return symbol
