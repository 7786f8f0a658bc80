"""The stand-in for Yahoo, seen through yfinance."""

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import yfinance
from curl_cffi.requests import Session
from curl_cffi.requests.exceptions import ConnectionError as CurlConnectionError
from curl_cffi.requests.exceptions import HTTPError, Timeout
from yfinance.data import YfData
from yfinance.exceptions import YFDataException, YFPricesMissingError, YFRateLimitError, YFTzMissingError

from tests.support.standins.yahoo import (
    ANY_SYMBOL,
    COOKIE,
    CRUMB_PATH,
    SUMMARY,
    Misbehaviour,
    YahooStandIn,
    daily_bars,
)
from tests.support.standins.yahoo_summary import CRUMB, summary

RECORDED = Path(__file__).resolve().parents[4] / "shared" / "yahoo-recorded"

_new_symbols = (f"T{number}" for number in count())


def new_session(yahoo: YahooStandIn) -> Session[Any]:
    options: dict[str, Any] = {"verify": str(yahoo.ca_bundle), "proxies": {"https": yahoo.proxy_url}}
    return Session(impersonate="chrome", **options)


@pytest.fixture(scope="module")
def yahoo(yahoo_server: YahooStandIn) -> YahooStandIn:
    return yahoo_server


@pytest.fixture(scope="module")
def session(yahoo: YahooStandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session[Any]]:
    """A session for yfinance, which is set to talk to the stand-in alone."""
    yfinance.set_tz_cache_location(str(tmp_path_factory.mktemp("yfinance")))
    before = yfinance.config.network.proxy, yfinance.config.debug.hide_exceptions
    yfinance.config.network.proxy = yahoo.proxy_url
    yfinance.config.debug.hide_exceptions = False
    with new_session(yahoo) as session:
        yield session
    yfinance.config.network.proxy, yfinance.config.debug.hide_exceptions = before


@pytest.fixture
def fetch(session: Session[Any]) -> Callable[..., Any]:
    """Daily bars of a symbol, by yfinance."""
    logging.getLogger("yfinance").setLevel(logging.CRITICAL)

    def fetch(symbol: str, **options: Any) -> Any:
        ticker = yfinance.Ticker(symbol, session=session)
        return ticker.history(**{"auto_adjust": False, "timeout": 5, **options})

    return fetch


@pytest.fixture
def symbol(yahoo: YahooStandIn) -> str:
    """A symbol with 60 bars that yfinance has never asked for."""
    symbol = next(_new_symbols)
    yahoo.serve(symbol, daily_bars(symbol, 60))
    return symbol


def closes_in(frame: Any) -> dict[date, float]:
    return {moment.date(): close for moment, close in frame["Close"].items()}


def test_yfinance_gets_exactly_the_served_closes(yahoo, fetch, symbol):
    frame = fetch(symbol, period="max")

    assert closes_in(frame) == yahoo.closes(symbol)
    assert str(frame.index.tz) == "America/New_York"
    assert list(frame["Adj Close"]) == [bar.adj_close for bar in daily_bars(symbol, 60)]
    assert list(frame["Volume"]) == [bar.volume for bar in daily_bars(symbol, 60)]


def test_a_new_symbol_costs_two_chart_requests_and_a_known_one_costs_one(yahoo, fetch, symbol):
    fetch(symbol)
    assert [request.is_lookup for request in yahoo.chart_requests(symbol)] == [True, False]

    fetch(symbol)
    assert [request.is_lookup for request in yahoo.chart_requests(symbol)] == [True, False, False]


def test_a_period_of_days_is_answered_with_its_bars(yahoo, fetch, symbol):
    dates = sorted(yahoo.closes(symbol))

    frame = fetch(symbol, start=dates[20], end=dates[30])

    assert list(closes_in(frame)) == dates[20:30]  # the end is not part of it


@pytest.mark.parametrize(("period", "days"), [("1d", 1), ("5d", 5), ("1mo", 22)])
def test_a_range_ends_at_the_newest_bar(yahoo, fetch, symbol, period, days):
    dates = list(closes_in(fetch(symbol, period=period)))

    assert dates == sorted(yahoo.closes(symbol))[-len(dates) :]
    assert abs(len(dates) - days) <= 1  # months differ


def test_pence_and_time_zone_of_london_arrive(yahoo, session):
    yahoo.serve("TEST.L", daily_bars("TEST.L", 30), currency="GBp", exchange="LSE", timezone="Europe/London")
    ticker = yfinance.Ticker("TEST.L", session=session)

    frame = ticker.history(period="max", auto_adjust=False)

    assert closes_in(frame) == yahoo.closes("TEST.L")
    assert str(frame.index.tz) == "Europe/London"
    assert ticker.history_metadata["currency"] == "GBp"


@pytest.mark.parametrize("symbol", ["^TEST", "EURTEST=X", "TEST-B", "005930.KS"])
def test_symbols_with_signs_in_them_arrive(yahoo, fetch, symbol):
    yahoo.serve(symbol, daily_bars(symbol, 5))

    assert closes_in(fetch(symbol, period="max")) == yahoo.closes(symbol)


def test_splits_and_dividends_arrive_on_their_days(yahoo, fetch):
    bars = daily_bars("EVENTS", 30)
    split, paid = bars[10].date, bars[20].date
    yahoo.serve("EVENTS", bars, splits={split: (4, 1)}, dividends={paid: 0.25})

    frame = fetch("EVENTS", period="max")

    assert {moment.date(): n for moment, n in frame["Stock Splits"].items() if n} == {split: 4.0}
    assert {moment.date(): n for moment, n in frame["Dividends"].items() if n} == {paid: 0.25}


def test_a_bar_is_the_same_in_every_window():
    short, long = daily_bars("AAPL", 10, date(2026, 3, 8)), daily_bars("AAPL", 300, date(2026, 3, 10))

    assert short == [bar for bar in long if bar.date in {other.date for other in short}]
    assert short[-1].date == date(2026, 3, 6)  # the 8th is a Sunday
    assert all(bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high for bar in long)


@pytest.mark.parametrize(
    ("how", "cold", "warm"),
    [
        (Misbehaviour.RATE_LIMITED, YFRateLimitError, YFRateLimitError),
        (Misbehaviour.BLOCKED, json.JSONDecodeError, json.JSONDecodeError),
        (Misbehaviour.REFUSED_WITH_200, json.JSONDecodeError, json.JSONDecodeError),
        (Misbehaviour.SERVER_ERROR, json.JSONDecodeError, json.JSONDecodeError),
        (Misbehaviour.MALFORMED, json.JSONDecodeError, json.JSONDecodeError),
        (Misbehaviour.HTML, json.JSONDecodeError, YFDataException),
        (Misbehaviour.NULL_BODY, AttributeError, YFPricesMissingError),
        (Misbehaviour.EMPTY, YFPricesMissingError, YFPricesMissingError),
        (Misbehaviour.CUT, CurlConnectionError, CurlConnectionError),
        (Misbehaviour.DROP, CurlConnectionError, CurlConnectionError),
    ],
)
def test_a_bad_answer_raises_what_yfinance_makes_of_it(yahoo, fetch, symbol, how, cold, warm):
    yahoo.misbehave(symbol, how)
    with pytest.raises(cold):
        fetch(symbol)

    yahoo.behave(symbol)
    YfData.cache_get.cache_clear()  # it remembers bad answers to the look-up
    fetch(symbol)
    yahoo.misbehave(symbol, how)
    with pytest.raises(warm):
        fetch(symbol)


def test_no_answer_is_a_time_out(yahoo, session, fetch, symbol):
    yahoo.misbehave(symbol, Misbehaviour.TIMEOUT)
    with pytest.raises(Timeout):  # the look-up's own limit is 10 s
        yfinance.Ticker(symbol, session=session)._fetch_ticker_tz(timeout=0.2)

    yahoo.behave(symbol)
    fetch(symbol)
    yahoo.misbehave(symbol, Misbehaviour.TIMEOUT)
    with pytest.raises(Timeout):
        fetch(symbol, timeout=0.2)


def test_null_prices_arrive_as_nan_beside_their_volume(yahoo, fetch, symbol):
    yahoo.misbehave(symbol, Misbehaviour.NAN)
    frame = fetch(symbol, period="max")
    assert frame["Close"].isna().sum() == 12
    assert frame["Close"].isna().iloc[-1]
    assert (frame["Volume"] > 0).all()

    yahoo.misbehave(symbol, Misbehaviour.ALL_NAN)
    assert fetch(symbol, period="max")["Close"].isna().all()


def test_a_symbol_yahoo_does_not_know_is_a_404(yahoo, fetch, symbol, monkeypatch):
    monkeypatch.setattr("yfinance.base._tz_info_fetch_ctr", 0)
    for _ in range(2):  # yfinance asks a second endpoint, twice in a process
        with pytest.raises(HTTPError, match="404"):
            fetch(next(_new_symbols))

    with pytest.raises(YFPricesMissingError, match="may be delisted"):
        fetch(next(_new_symbols), period="1mo")
    with pytest.raises(YFTzMissingError):
        fetch(next(_new_symbols), start=date(2026, 1, 1))

    fetch(symbol)
    yahoo.forget(symbol)
    with pytest.raises(YFPricesMissingError, match="may be delisted"):
        fetch(symbol)


def test_days_before_the_first_bar_are_refused(yahoo, fetch, symbol):
    with pytest.raises(YFPricesMissingError, match="Data doesn't exist for startDate"):
        fetch(symbol, start=date(1990, 1, 1), end=date(1990, 2, 1))


def test_all_symbols_can_be_rate_limited_and_told_for_how_long(yahoo, session, symbol):
    yahoo.misbehave(ANY_SYMBOL, Misbehaviour.RATE_LIMITED, retry_after=17)
    try:
        answer = session.get(f"https://query2.finance.yahoo.com/v8/finance/chart/{symbol}?range=1d")
    finally:
        yahoo.behave(ANY_SYMBOL)

    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "17")


@pytest.mark.parametrize(
    ("kind", "url"),
    [(COOKIE, COOKIE), (CRUMB_PATH, f"https://query1.finance.yahoo.com{CRUMB_PATH}")],
    ids=["cookie", "crumb"],
)
def test_cookie_and_crumb_can_be_refused(yahoo, session, kind, url):
    yahoo.misbehave(kind, Misbehaviour.RATE_LIMITED, retry_after=17, times=1)
    answer = session.get(url)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "17")
    assert session.get(url).status_code != 429


def test_another_host_is_refused(yahoo, session):
    with pytest.raises(CurlConnectionError, match="403"):
        session.get("https://example.org/")

    assert [(request.host, request.status) for request in yahoo.requests if request.path == ""] == [
        ("example.org", 403)
    ]


def test_twenty_threads_share_a_session(yahoo, fetch):
    symbols = [f"THREAD{number}" for number in range(60)]
    for symbol in symbols:
        yahoo.serve(symbol, daily_bars(symbol, 30))

    with ThreadPoolExecutor(20) as pool:
        frames = list(pool.map(lambda symbol: fetch(symbol, period="max"), symbols))

    assert [closes_in(frame) for frame in frames] == [yahoo.closes(symbol) for symbol in symbols]


def test_waiting_for_requests_ends_with_them(yahoo, fetch, symbol):
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(yahoo.wait_for_requests, 2, symbol, 10)
        fetch(symbol)
        assert len(waiting.result()) == 2
    with pytest.raises(TimeoutError, match="2 of 3"):
        yahoo.wait_for_requests(3, symbol, timeout=0.01)


def test_an_answer_takes_as_long_as_asked():
    with YahooStandIn(latency=0.1) as slow, new_session(slow) as session:
        begun = time.monotonic()
        session.get("https://query1.finance.yahoo.com/v1/test/getcrumb")
        assert time.monotonic() - begun >= 0.1


def test_closing_ends_every_thread_and_file_though_clients_wait():
    threads, files = set(threading.enumerate()), len(os.listdir("/proc/self/fd"))
    stand_in = YahooStandIn(latency=60)
    stand_in.misbehave("HANGS", Misbehaviour.TIMEOUT)

    def ask(symbol: str) -> None:
        with new_session(stand_in) as session, pytest.raises(CurlConnectionError):
            session.get(f"https://query2.finance.yahoo.com/v8/finance/chart/{symbol}")

    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(ask, symbol) for symbol in ("HANGS", "SLOW")]
        stand_in.wait_for_requests(2)
        begun = time.monotonic()
        stand_in.close()
        assert time.monotonic() - begun < 2
        for future in asked:
            future.result(5)

    assert set(threading.enumerate()) <= threads
    assert len(os.listdir("/proc/self/fd")) <= files
    assert not stand_in.ca_bundle.exists()


@pytest.mark.skipif(not RECORDED.is_dir(), reason="no recorded answers beside this checkout")
@pytest.mark.parametrize("span", [{"range": "1d"}, {"period1": "0", "period2": "4000000000"}])
def test_a_chart_has_the_shape_of_a_recorded_one(yahoo, session, symbol, span):
    url = f"https://query2.finance.yahoo.com/v8/finance/chart/{symbol}"
    recorded = json.loads((RECORDED / "chart-AAPL.json").read_text())["body"]

    ours = session.get(url, params={"interval": "1d", "events": "div,splits,capitalGains", **span}).json()

    assert shape(ours) == shape(recorded)


@pytest.mark.skipif(not RECORDED.is_dir(), reason="no recorded answers beside this checkout")
def test_the_answer_for_an_unknown_symbol_has_the_shape_of_a_quoted_one(yahoo, session):
    answer = session.get(f"https://query2.finance.yahoo.com/v8/finance/chart/{next(_new_symbols)}")

    assert answer.status_code == 404
    assert answer.json() == json.loads((RECORDED / "chart-UNKNOWN.transcribed.json").read_text())


def ask_for_summary(session: Session[Any], symbol: str, **params: str) -> Any:
    return session.get(f"https://query2.finance.yahoo.com{SUMMARY}/{symbol}", params=params)


def test_a_summary_needs_a_crumb_and_has_the_modules_asked_for(yahoo, session, symbol):
    yahoo.serve_fundamentals(symbol, summary(marketCap=7))
    for params in ({}, {"crumb": "stale"}):
        assert ask_for_summary(session, symbol, modules="summaryDetail", **params).status_code == 401
    answer = ask_for_summary(session, symbol, modules="summaryDetail,price", crumb=CRUMB)
    (found,) = answer.json()["quoteSummary"]["result"]
    assert found.keys() == {"summaryDetail"}
    assert found["summaryDetail"]["marketCap"] == 7


@pytest.mark.skipif(not RECORDED.is_dir(), reason="no recorded answers beside this checkout")
def test_a_summary_has_nothing_that_a_recorded_one_has_not(yahoo, session, symbol):
    yahoo.serve_fundamentals(symbol, summary())
    ours = ask_for_summary(session, symbol, modules=",".join(summary()), crumb=CRUMB).json()
    recorded = json.loads((RECORDED / "quoteSummary-all-AAPL.json").read_text())["body"]
    assert ours.keys() == recorded.keys()
    assert ours["quoteSummary"].keys() == recorded["quoteSummary"].keys()
    (modules,), (recorded_modules,) = ours["quoteSummary"]["result"], recorded["quoteSummary"]["result"]
    for module, values in modules.items():
        for name, value in values.items():
            if value is not None:
                assert shape(value) == shape(recorded_modules[module][name]) or value == [], name


@pytest.mark.skipif(not RECORDED.is_dir(), reason="no recorded answers beside this checkout")
def test_a_summary_of_what_is_no_company_is_the_recorded_one(yahoo, session, symbol):
    yahoo.serve_fundamentals(symbol, {})
    recorded = json.loads((RECORDED / "quoteSummary-assetProfile-EURUSD=X.json").read_text())
    answer = ask_for_summary(session, symbol, modules="assetProfile", crumb=CRUMB)
    assert (answer.status_code, answer.json()) == (recorded["status"], recorded["body"])


def shape(value: Any) -> Any:
    """The keys of `value` at every depth, with the kind of what they hold; of a list, its first item."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value[:1]]
    return "number" if isinstance(value, float) else type(value).__name__.replace("int", "number")
