"""Yahoo's quotes are read entry by entry: what is missing, repeated or absurd costs no other stock its quote."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.sources.base import Bar, MalformedAnswer, Quote, RateLimited, SourceBusy, SourceDown, SourceError
from market.sources.yahoo.quotes import read_quotes
from market.sources.yahoo.source import YahooFinance
from tests.support.standins.yahoo import COOKIE, CRUMB_PATH, QUOTES
from tests.support.standins.yahoo_chart import Listing, daily_bars
from tests.support.standins.yahoo_quotes import quote_of

RECORDED = Path(__file__).parents[3] / "shared" / "yahoo-recorded" / "quote-AAPL-BABA.json"
NOW = datetime(2026, 3, 10, 21, 0, tzinfo=UTC)
"""A Tuesday, an hour after New York's close."""
BARS = daily_bars("AAPL", 5, until=date(2026, 3, 10))
LISTING = Listing("AAPL", tuple(BARS), exchange="NMS", name="Apple Inc.")


def entry(**changes: Any) -> dict[str, Any]:
    """A sound quote of AAPL after the close of 2026-03-10."""
    known = {"regularMarketTime": int(datetime(2026, 3, 10, 20, 0, 1, tzinfo=UTC).timestamp())}
    return quote_of(LISTING, **(known | changes))


def answer(*entries: Any) -> dict[str, Any]:
    return {"quoteResponse": {"result": list(entries), "error": None}}


def read(*entries: Any, symbols: tuple[str, ...] = ("AAPL",)) -> dict[str, Quote | str]:
    return read_quotes(answer(*entries), symbols, "yahoo_finance", NOW)


def test_a_quote_is_the_bar_of_its_session():
    newest, before = BARS[-1], BARS[-2]
    assert read(entry())["AAPL"] == Quote(
        "AAPL",
        "yahoo_finance",
        datetime(2026, 3, 10, 20, 0, 1, tzinfo=UTC),
        Bar(date(2026, 3, 10), newest.open, newest.high, newest.low, newest.close, newest.close, newest.volume),
        before.close,
        is_traded=True,
        name="Apple Inc.",
        exchange="NMS",
        currency="USD",
    )


@pytest.mark.parametrize(
    ("zone", "moment", "day"),
    [
        ("America/New_York", datetime(2026, 3, 10, 1, 0, tzinfo=UTC), date(2026, 3, 9)),
        ("Australia/Sydney", datetime(2026, 3, 9, 23, 30, tzinfo=UTC), date(2026, 3, 10)),
        ("Europe/London", datetime(2026, 3, 10, 16, 35, tzinfo=UTC), date(2026, 3, 10)),
    ],
)
def test_a_quote_is_dated_at_its_exchange(zone, moment, day):
    found = read(entry(exchangeTimezoneName=zone, regularMarketTime=int(moment.timestamp())))["AAPL"]
    assert isinstance(found, Quote)
    assert found.bar.date == day


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"regularMarketPrice": None}, "the quote has no regularMarketPrice"),
        ({"regularMarketPrice": ...}, "the quote has no regularMarketPrice"),
        ({"regularMarketPrice": 0}, "the quote has no regularMarketPrice"),
        ({"regularMarketPrice": -3.5}, "the quote has no regularMarketPrice"),
        ({"regularMarketPrice": 1e17}, "the quote has no regularMarketPrice"),
        ({"regularMarketPrice": float("nan")}, "the quote has no regularMarketPrice"),
        ({"regularMarketPrice": "244.6"}, "the quote has no regularMarketPrice"),
        ({"regularMarketPrice": True}, "the quote has no regularMarketPrice"),
        ({"regularMarketPreviousClose": None}, "the quote has no regularMarketPreviousClose"),
        ({"regularMarketOpen": None}, "the quote has no regularMarketOpen"),
        ({"regularMarketDayHigh": ...}, "the quote has no regularMarketDayHigh"),
        ({"regularMarketDayLow": {"raw": 1}}, "the quote has no regularMarketDayLow"),
        ({"regularMarketVolume": None}, "the quote has no regularMarketVolume"),
        ({"regularMarketVolume": -1}, "the quote has no regularMarketVolume"),
        ({"regularMarketDayHigh": 0.01}, "the prices of the session contradict each other"),
        ({"regularMarketTime": None}, "the quote has no time"),
        ({"regularMarketTime": 0}, "the quote has no time"),
        ({"regularMarketTime": 10**17}, "the quote has no time"),
        ({"regularMarketTime": int((NOW + timedelta(hours=1)).timestamp())}, "the time of the quote is in the future"),
        ({"exchangeTimezoneName": ...}, "the time zone of the quote is not known"),
        ({"exchangeTimezoneName": "Mars/Olympus"}, "the time zone of the quote is not known"),
        ({"exchangeTimezoneName": "../../etc/passwd"}, "the time zone of the quote is not known"),
        ({"exchangeTimezoneName": 5}, "the time zone of the quote is not known"),
        ({"exchangeTimezoneName": "\0"}, "the time zone of the quote is not known"),
        ({"exchangeTimezoneName": "A" * 10_000}, "the time zone of the quote is not known"),
        ({"corporateActions": [{"header": "Stock split"}]}, "a corporate action is announced"),
    ],
    ids=str,
)
def test_a_quote_that_says_too_little_is_not_used_and_the_reason_is_told(changes, reason):
    others = entry(symbol="MSFT")
    found = read(entry(**changes), others, symbols=("AAPL", "MSFT"))
    assert found["AAPL"] == reason
    assert isinstance(found["MSFT"], Quote)


def test_a_symbol_that_the_answer_lacks_or_has_under_another_name_has_no_quote():
    found = read(entry(symbol="META"), symbols=("FB", "AAPL"))
    assert found == dict.fromkeys(("FB", "AAPL"), "the answer has no quote of the symbol")


def test_a_symbol_that_comes_twice_counts_if_both_say_the_same():
    assert isinstance(read(entry(), entry())["AAPL"], Quote)
    assert read(entry(), entry(regularMarketPrice=1.0))["AAPL"] == (
        "the answer has several different quotes of the symbol"
    )


def test_without_a_volume_there_is_no_trade_yet():
    found = read(entry(regularMarketVolume=0, regularMarketOpen=None, regularMarketDayHigh=0))["AAPL"]
    assert isinstance(found, Quote)
    assert (found.is_traded, found.bar.close) == (False, BARS[-1].close)


@pytest.mark.parametrize("kind", ["INDEX", "CURRENCY"])
@pytest.mark.parametrize("volume", [0, None, ...])
def test_an_index_and_a_currency_need_no_volume(kind, volume):
    found = read(entry(quoteType=kind, regularMarketVolume=volume))["AAPL"]
    assert isinstance(found, Quote)
    assert (found.is_traded, found.bar.volume) == (True, 0)


def test_a_quote_a_minute_ahead_of_our_clock_is_of_now():
    ahead = int((NOW + timedelta(minutes=1)).timestamp())
    assert isinstance(read(entry(regularMarketTime=ahead))["AAPL"], Quote)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(list(entry())), inner, max_size=6),
    max_leaves=20,
)


@given(JSON, JSON)
def test_whatever_an_answer_says_each_symbol_has_a_quote_or_a_reason(garbage, value):
    sound = entry(symbol="MSFT")
    for body in (garbage, answer(garbage, sound), answer({"symbol": "AAPL", **dict.fromkeys(entry(), value)}, sound)):
        found = read_quotes(body, ("AAPL", "MSFT"), "yahoo_finance", NOW)
        assert found.keys() == {"AAPL", "MSFT"}
        assert all(isinstance(one, Quote) or one for one in found.values())


@pytest.mark.skipif(not RECORDED.exists(), reason="no recorded answers beside this checkout")
def test_a_recorded_answer_is_read():
    recorded = json.loads(RECORDED.read_text())["body"]
    found = read_quotes(recorded, ("AAPL", "BABA"), "yahoo_finance", datetime(2025, 2, 17, 11, 10, tzinfo=UTC))
    aapl = found["AAPL"]
    assert isinstance(aapl, Quote)
    assert aapl.bar == Bar(date(2025, 2, 14), 241.07, 245.41, 241.0, 244.6, 244.6, 40896227)
    assert (aapl.previous_close, aapl.exchange, aapl.currency, aapl.name) == (241.53, "NMS", "USD", "Apple Inc.")
    assert isinstance(found["BABA"], Quote)


# Requests


@pytest.fixture
def source(yahoo, db) -> YahooFinance:
    yahoo.serve("QA", "QB", "QC")
    return YahooFinance()


def asked_for(yahoo: Any) -> list[tuple[str, ...]]:
    return [request.quotes_of for request in yahoo.server.quote_requests()]


def test_one_request_asks_for_all_symbols_with_yfinances_cookie_and_crumb(yahoo, source):
    before = len(asked_for(yahoo))
    found = source.quotes(["QA", "QB", "UNKNOWN", "BRK-B"])
    assert asked_for(yahoo)[before:] == [("QA", "QB", "UNKNOWN", "BRK-B")]
    assert isinstance(found["QA"], Quote)
    assert isinstance(found["QB"], Quote)
    assert found["UNKNOWN"] == "the answer has no quote of the symbol"


@pytest.mark.parametrize(
    ("how", "kind"),
    [
        ("malformed", MalformedAnswer),
        ("cut", SourceError),
        ("null_body", MalformedAnswer),
        ("nested", MalformedAnswer),
        ("bomb", MalformedAnswer),
        ("html", SourceDown),
        ("server_error", SourceDown),
        ("not_found", SourceError),
        ("rate_limited", RateLimited),
        ("blocked", RateLimited),
        ("refused_with_200", RateLimited),
        ("unauthorized", SourceDown),
        ("drop", SourceError),
    ],
)
def test_an_answer_without_quotes_is_an_error_with_a_name(yahoo, source, how, kind):
    yahoo.misbehave(how, QUOTES)
    with pytest.raises(kind, match=r"quotes|is down"):
        source.quotes(["QA"])


def test_a_crumb_that_has_run_out_is_renewed_once(yahoo, source):
    yahoo.misbehave("unauthorized", QUOTES, times=1)
    assert isinstance(source.quotes(["QA"])["QA"], Quote)


@pytest.mark.parametrize("refused", [COOKIE, CRUMB_PATH])
def test_without_a_crumb_no_quotes_are_asked_for(yahoo, source, without_crumb, refused):
    yahoo.misbehave("rate_limited", refused)
    before = len(asked_for(yahoo))
    with pytest.raises(SourceBusy, match="refused the crumb that quotes need"):
        source.quotes(["QA"])
    assert asked_for(yahoo)[before:] == []


def test_a_crumb_that_is_a_page_is_refused_like_a_wrong_one(yahoo, source, without_crumb):
    yahoo.misbehave("html", CRUMB_PATH)
    with pytest.raises(SourceError):
        source.quotes(["QA"])
