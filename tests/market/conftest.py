"""These fixtures serve several test files of market data."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
import time_machine

from market.calendar import sessions
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


@pytest.fixture
def travel() -> Iterator[Callable[[str], datetime]]:
    """travel("2026-11-28 12:00") sets the clock to that moment in UTC, and returns it."""
    travelling: list[time_machine.travel] = []

    def travel(text: str) -> datetime:
        moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
        sessions._complete.cache_clear()  # of other tests, which had other tables
        while travelling:
            travelling.pop().stop()
        travelling.append(time_machine.travel(moment))
        travelling[0].start()
        return moment

    yield travel
    while travelling:
        travelling.pop().stop()
    sessions._complete.cache_clear()
