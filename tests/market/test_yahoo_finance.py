"""Yahoo Finance is a source of bars, through yfinance."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from market.sources.base import (
    AccessRefused,
    MalformedAnswer,
    NoBars,
    NotOffered,
    RateLimited,
    SourceDown,
    SourceError,
    SourceTimeout,
    SourceUnreachable,
    SymbolNotFound,
)
from market.sources.http import LARGEST_ANSWER
from market.sources.yahoo.source import YahooFinance
from tests.support.memory import watched_memory
from tests.support.standins.https_proxy import Answer, HttpsProxy
from tests.support.standins.yahoo import daily_bars
from tests.support.yahoo_histories import SINCE, new_symbols, six_values

FAILURES = [
    ("rate_limited", RateLimited, "Yahoo Finance refused {symbol}: too many requests (429)"),
    ("blocked", RateLimited, "Yahoo Finance refused {symbol}: too many requests (999)"),
    ("refused_with_200", RateLimited, "Yahoo Finance refused {symbol}: too many requests (200)"),
    ("unauthorized", SourceDown, "Yahoo Finance refused {symbol} (401), even with a new cookie"),
    ("server_error", SourceDown, "Yahoo Finance answered 503 for {symbol}"),
    ("html", SourceDown, "Yahoo Finance reports that it is down"),
    ("malformed", MalformedAnswer, "Yahoo Finance sent an answer for {symbol} that is not a chart"),
    ("null_body", MalformedAnswer, "Yahoo Finance sent an answer for {symbol} that is not a chart"),
    ("nested", MalformedAnswer, "Yahoo Finance sent an answer for {symbol} that is not a chart"),
    ("endless", MalformedAnswer, "Yahoo Finance sent more than 16 MiB for {symbol}"),
    ("bomb", MalformedAnswer, "Yahoo Finance sent more than 16 MiB for {symbol}"),
    ("empty", NoBars, "Yahoo Finance has no prices of {symbol} in the requested days"),
    ("all_nan", NoBars, "Yahoo Finance has no prices of {symbol} in the requested days"),
]


@pytest.fixture(params=["cold", "warm"])
def either(request, yahoo_source, symbol) -> str:
    """A symbol that Yahoo has not been asked for yet, and one that it has been asked for."""
    if request.param == "warm":
        yahoo_source.history(symbol, SINCE)
    return symbol


@pytest.fixture
def impatient(configure, yahoo) -> YahooFinance:
    configure(**{"integration.apis.yahoo_finance.timeout": 0.25})
    return YahooFinance()


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that nobody listens on, and that nobody else gets."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture
def hollow_yahoo(yahoo, settings) -> Iterator[YahooFinance]:
    """A source whose Yahoo answers every chart with an empty one."""

    def answer(*_request: object) -> Answer:
        return Answer(200, b'{"chart":{"result":null,"error":null}}')

    proxy = HttpsProxy("yahoo.com", ["*.finance.yahoo.com", "*.yahoo.com"], answer, lambda *_refused: None)
    settings.YAHOO_PROXY, settings.YAHOO_CA_BUNDLE = proxy.url, str(proxy.ca_bundle)
    yield YahooFinance()
    proxy.close()


def failure(source, symbol: str) -> SourceError:
    with pytest.raises(SourceError) as caught:
        source.history(symbol, SINCE)
    return caught.value


def charts_asked_for(yahoo, symbol: str) -> int:
    return len(yahoo.server.chart_requests(symbol))


def test_the_bars_are_exactly_the_served_ones(yahoo, yahoo_source, symbol):
    history = yahoo_source.history(symbol, SINCE)

    assert six_values(history.bars) == six_values(daily_bars(symbol, 25))
    assert (history.symbol, history.source) == (symbol, "yahoo_finance")


def test_what_yahoo_says_of_the_instrument_arrives(yahoo, yahoo_source):
    symbol = next(new_symbols)
    yahoo.serve(symbol, name="Test & Söhne plc", currency="GBp", exchange="LSE", timezone="Europe/London")

    history = yahoo_source.history(symbol, SINCE)

    assert (history.name, history.exchange, history.currency) == ("Test & Söhne plc", "LSE", "GBp")


@pytest.mark.parametrize(
    ("timezone", "instrument"),
    [
        ("America/New_York", "EQUITY"),
        ("Europe/London", "EQUITY"),
        ("Asia/Tokyo", "EQUITY"),
        ("Pacific/Auckland", "EQUITY"),
        ("Europe/London", "CURRENCY"),
        ("UTC", "CRYPTOCURRENCY"),
    ],
)
def test_a_bar_has_the_date_of_its_exchange(yahoo, yahoo_source, timezone, instrument):
    symbol = next(new_symbols)
    yahoo.serve(symbol, timezone=timezone, instrument=instrument)

    bars = yahoo_source.history(symbol, SINCE).bars

    assert [bar.date for bar in bars] == [bar.date for bar in daily_bars(symbol, 25)]


def test_only_the_days_asked_for_are_fetched(yahoo, yahoo_source, symbol):
    yahoo.serve(symbol, days=200)

    bars = yahoo_source.history(symbol, timezone.now().date() - timedelta(days=30)).bars

    first = datetime.now(UTC).date() - timedelta(days=30)
    served = [bar for bar in daily_bars(symbol, 200) if bar.date >= first]
    assert six_values(bars) == six_values(served)


@pytest.mark.parametrize("symbol", ["^TESTS", "EURTESTS=X", "TESTS-USD", "TES=F", "0P0000TEST.TO", "T&T.NS"])
def test_symbols_with_signs_in_them_are_found(yahoo, yahoo_source, symbol):
    yahoo.serve(symbol)

    assert six_values(yahoo_source.history(symbol, SINCE).bars) == six_values(daily_bars(symbol, 25))


@pytest.mark.parametrize(("how", "kind", "message"), FAILURES)
def test_a_failure_has_a_class_and_a_message_of_its_own(yahoo, yahoo_source, either, how, kind, message):
    yahoo.misbehave(how, either)

    error = failure(yahoo_source, either)

    assert type(error) is kind
    assert str(error) == message.format(symbol=either)


def test_no_answer_within_the_configured_limit_is_a_time_out(yahoo, either, impatient):
    yahoo.misbehave("timeout", either)

    error = failure(impatient, either)

    assert type(error) is SourceTimeout
    assert str(error) == f"Yahoo Finance did not answer for {either} in time (at most 0.25 s)"


def test_an_answer_that_comes_after_the_limit_is_a_time_out(yahoo, either, impatient):
    yahoo.server.latency = 0.4

    assert type(failure(impatient, either)) is SourceTimeout


@pytest.mark.parametrize("how", ["drop", "cut"])
def test_a_connection_that_breaks_off_is_no_answer_of_yahoos(yahoo, yahoo_source, either, how):
    yahoo.misbehave(how, either)

    error = failure(yahoo_source, either)

    assert type(error) is SourceUnreachable
    assert str(error).startswith(f"Yahoo Finance could not be reached for {either}: ")
    assert "https://" not in str(error)  # where curl documents its errors


def test_where_nobody_listens_yahoo_is_unreachable(yahoo, either, settings, closed_port):
    settings.YAHOO_PROXY = f"http://127.0.0.1:{closed_port}"

    error = failure(YahooFinance(), either)

    assert type(error) is SourceUnreachable
    assert str(error).startswith(f"Yahoo Finance could not be reached for {either}: ")


@pytest.mark.parametrize("how", ["endless", "bomb"])
def test_an_answer_without_end_takes_no_more_memory_than_the_largest_one(yahoo, yahoo_source, either, how):
    yahoo.misbehave(how, either)

    with watched_memory() as growth:
        failure(yahoo_source, either)

    assert growth.peak < 4 * LARGEST_ANSWER


def test_only_failures_that_pass_are_worth_a_later_try():
    lasting = {kind for kind in SourceError.__subclasses__() if not kind.retryable}

    assert lasting == {SymbolNotFound, NoBars, NotOffered, AccessRefused}


def test_a_symbol_that_yahoo_does_not_know_is_not_found(yahoo_source):
    error = failure(yahoo_source, "ZZTOP")

    assert type(error) is SymbolNotFound
    assert str(error) == "Yahoo Finance has no data for ZZTOP"


def test_a_symbol_that_yahoo_knew_once_is_not_found(yahoo, yahoo_source, symbol):
    yahoo_source.history(symbol, SINCE)
    yahoo.server.forget(symbol)

    assert str(failure(yahoo_source, symbol)) == f"Yahoo Finance has no data for {symbol}"


@pytest.mark.parametrize(
    ("zone", "exchange", "instrument"),
    [
        ("Pacific/Auckland", "NZE", "EQUITY"),
        ("Australia/Sydney", "ASX", "EQUITY"),
        ("Asia/Tokyo", "JPX", "EQUITY"),
        ("Europe/London", "CCY", "CURRENCY"),
        ("America/New_York", "NMS", "EQUITY"),
        ("Pacific/Honolulu", "XYZ", "INDEX"),
    ],
)
def test_a_new_symbol_costs_one_request_wherever_its_days_begin(
    yahoo, yahoo_source, symbol, zone, exchange, instrument
):
    """Days begin up to a day earlier or later than in UTC."""
    yahoo.serve(symbol, timezone=zone, exchange=exchange, instrument=instrument)
    yahoo_source.prepare()
    before = len(yahoo.server.requests)
    days = sorted(yahoo.server.closes(symbol))

    bars = yahoo_source.history(symbol, days[5], days[12]).bars

    assert [bar.date for bar in bars] == days[5:13]
    assert [request.symbol for request in yahoo.server.requests[before:]] == [symbol]
    assert [bar.date for bar in yahoo_source.history(symbol, days[5]).bars] == days[5:]


def test_an_unknown_symbol_costs_one_request_and_spoils_nothing(yahoo, yahoo_source, symbol):
    yahoo_source.history(symbol, SINCE)  # the first one in a process asks for a cookie too
    for unknown in ("ZZTOP", next(new_symbols), next(new_symbols)):
        before = len(yahoo.server.requests)
        failure(yahoo_source, unknown)
        assert [request.symbol for request in yahoo.server.requests[before:]] == [unknown]

    assert six_values(yahoo_source.history(symbol, SINCE).bars) == six_values(daily_bars(symbol, 25))


def test_an_unknown_symbol_that_is_listed_later_is_found_then(yahoo, yahoo_source):
    symbol = next(new_symbols)
    failure(yahoo_source, symbol)
    yahoo.serve(symbol)

    assert six_values(yahoo_source.history(symbol, SINCE).bars) == six_values(daily_bars(symbol, 25))


def test_an_unknown_isin_is_not_found(yahoo_source):
    error = failure(yahoo_source, "US0000000000")

    assert type(error) is SymbolNotFound
    assert str(error) == "Yahoo Finance has no data for US0000000000"


def test_days_without_a_price_are_dropped(yahoo, yahoo_source, either):
    yahoo.misbehave("nan", either)

    bars = yahoo_source.history(either, SINCE).bars

    served = daily_bars(either, 25)
    priced = [bar for age, bar in enumerate(reversed(served)) if age % 5]
    assert six_values(bars) == six_values(reversed(priced))


@pytest.mark.parametrize("how", ["malformed", "null_body", "html", "server_error", "rate_limited", "drop"])
def test_a_bad_answer_is_asked_for_again(yahoo, yahoo_source, symbol, how):
    yahoo.misbehave(how, symbol)
    failure(yahoo_source, symbol)
    yahoo.server.behave(symbol)

    assert six_values(yahoo_source.history(symbol, SINCE).bars) == six_values(daily_bars(symbol, 25))


def test_an_answer_that_holds_no_chart_is_asked_for_again(yahoo, symbol, hollow_yahoo, settings):
    error = failure(hollow_yahoo, symbol)
    assert type(error) is MalformedAnswer
    assert str(error) == f"Yahoo Finance sent an answer for {symbol} that is not a chart"
    settings.YAHOO_PROXY, settings.YAHOO_CA_BUNDLE = yahoo.server.proxy_url, str(yahoo.server.ca_bundle)

    assert six_values(YahooFinance().history(symbol, SINCE).bars) == six_values(daily_bars(symbol, 25))


def test_a_crumb_that_has_run_out_is_renewed(yahoo, yahoo_source, either):
    yahoo.misbehave("unauthorized", either, times=1)
    assert yahoo_source.history(either, SINCE).bars


def test_too_many_requests_are_not_answered_with_another(yahoo, yahoo_source, either):
    before = charts_asked_for(yahoo, either)
    yahoo.misbehave("rate_limited", either)

    failure(yahoo_source, either)

    assert charts_asked_for(yahoo, either) == before + 1


def test_twenty_threads_share_one_source(yahoo, yahoo_source):
    known = [next(new_symbols) for _ in range(40)]
    unknown = [next(new_symbols) for _ in range(20)]
    yahoo.serve(*known)

    def closes(symbol: str) -> list[tuple[Any, ...]] | str:
        try:
            return six_values(yahoo_source.history(symbol, SINCE).bars)
        except SourceError as error:
            return str(error)

    with ThreadPoolExecutor(20) as pool:
        answers = dict(zip(known + unknown, pool.map(closes, known + unknown), strict=True))

    assert answers == {
        **{symbol: six_values(daily_bars(symbol, 25)) for symbol in known},
        **{symbol: f"Yahoo Finance has no data for {symbol}" for symbol in unknown},
    }
