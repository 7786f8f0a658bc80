"""Fundamentals of a stock: what is read of Yahoo's answer, and the analysis that it becomes."""

import json
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yfinance.cache import get_isin_cache

from market.analysis.fundamental.analyse import analyse_fundamentals
from market.analysis.fundamental.rule import VERSION, recommend_by_fundamentals
from market.models import Analysis, SourceState, SourceUse, Stock
from market.sources import configured_sources, fetch_fundamentals
from market.sources.base import (
    Fundamentals,
    MalformedAnswer,
    NotOffered,
    RateLimited,
    SourceBusy,
    SourceDown,
    SourceError,
    SourceTimeout,
    SourceUnreachable,
    SymbolNotFound,
)
from market.sources.budget import spending
from market.sources.yahoo.json_values import LARGEST
from market.sources.yahoo.summary import MODULES, read_summary
from tests.support.standins.test_standins import RECORDED
from tests.support.standins.yahoo import SUMMARY
from tests.support.standins.yahoo_summary import summary, summary_body, summary_of_an_index

pytestmark = pytest.mark.django_db

SOUND = Fundamentals(
    currency="USD",
    price_currency="USD",
    sector="Technology",
    industry="Consumer Electronics",
    most_recent_quarter=date(2026, 9, 30),
    market_cap=180e9,
    enterprise_value=190e9,
    trailing_pe=12.5,
    forward_pe=11.0,
    price_to_book=2.75,
    price_to_sales=2.0,
    ev_to_ebitda=8.5,
    trailing_eps=8.0,
    gross_margin=0.45,
    operating_margin=0.21,
    profit_margin=0.16,
    return_on_equity=0.22,
    revenue_growth=0.08,
    earnings_growth=0.12,
    total_revenue=90e9,
    total_debt=30e9,
    total_cash=20e9,
    debt_to_equity=0.6,
    current_ratio=1.4,
    free_cashflow=12e9,
    dividend_rate=2.0,
    dividend_yield=0.02,
    payout_ratio=0.25,
    ex_dividend_date=date(2026, 10, 12),
)
NUMBERS = [name for name, value in SOUND._asdict().items() if isinstance(value, float)]


def read(**changes: Any) -> Fundamentals:
    """What is read of a sound company's summary with these changes."""
    found = read_summary(summary_body(summary(**changes)))
    assert found is not None
    return found


# What Yahoo answers


def test_fundamentals_are_read_as_yahoo_gives_them(yahoo):
    yahoo.serve_fundamentals("AAPL")
    assert fetch_fundamentals("AAPL") == SOUND


def test_every_fundamental_is_read():
    assert None not in SOUND
    assert "" not in SOUND


def test_they_take_one_request_once_there_is_a_crumb(yahoo):
    yahoo.serve_fundamentals("AAPL")
    fetch_fundamentals("AAPL")
    before = len(yahoo.server.requests)
    fetch_fundamentals("AAPL")
    (request,) = yahoo.server.requests[before:]
    assert (request.host, request.path) == ("query2.finance.yahoo.com", f"{SUMMARY}/AAPL")
    assert (request.params["modules"], request.params["formatted"]) == (",".join(MODULES), "false")


def test_they_are_asked_for_each_time_anew(yahoo):
    yahoo.serve_fundamentals("AAPL")
    assert fetch_fundamentals("AAPL").trailing_pe == 12.5
    yahoo.serve_fundamentals("AAPL", summary(trailingPE=13.5))
    assert fetch_fundamentals("AAPL").trailing_pe == 13.5


@pytest.mark.parametrize("symbol", ["^GSPC", "EURUSD=X", "BTC-USD", "GC=F", "M&M.NS", "005930.KS"])
def test_symbols_with_signs_in_them_arrive(yahoo, symbol):
    yahoo.serve_fundamentals(symbol)
    assert fetch_fundamentals(symbol) == SOUND
    assert yahoo.server.summary_requests()[-1].summary_of == symbol


def test_a_symbol_that_yahoo_does_not_know_has_none_and_costs_one_request(yahoo):
    yahoo.serve_fundamentals("AAPL")
    fetch_fundamentals("AAPL")
    before = len(yahoo.server.requests)
    with pytest.raises(SymbolNotFound, match="Yahoo Finance has no fundamentals of ZZTOP"):
        fetch_fundamentals("ZZTOP")
    assert len(yahoo.server.requests) == before + 1


@pytest.mark.parametrize(
    "modules",
    [
        {},
        {"recommendationTrend": {"maxAge": 1}},
        summary_of_an_index(),
        {module: {} for module in MODULES},
        dict.fromkeys(MODULES),
        {"assetProfile": {"sector": "Technology"}, "summaryDetail": {"currency": "USD", "exDividendDate": 1791763200}},
    ],
    ids=["nothing", "other modules", "an index", "empty modules", "null modules", "texts alone"],
)
def test_where_there_is_not_one_number_there_are_no_fundamentals(yahoo, modules):
    yahoo.serve_fundamentals("^GSPC", modules)
    with pytest.raises(SymbolNotFound, match=r"Yahoo Finance has no fundamentals of \^GSPC"):
        fetch_fundamentals("^GSPC")


def test_what_looks_like_an_isin_that_yahoo_does_not_know_is_an_unknown_symbol(yahoo):
    with pytest.raises(SymbolNotFound):
        fetch_fundamentals("US0378331005")


def test_an_isin_stands_for_the_symbol_that_yahoo_says_whatever_is_in_it(yahoo):
    yahoo.serve_fundamentals("ODD?/#%2F")
    fetch_fundamentals("ODD?/#%2F")  # the caches of yfinance are where the source has put them
    isins = get_isin_cache()
    isins.store("US5949181045", "ODD?/#%2F")
    try:
        assert fetch_fundamentals("US5949181045") == SOUND
    finally:
        isins.store("US5949181045", None)


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ("rate_limited", RateLimited, "Yahoo Finance refused AAPL: too many requests (429)"),
        ("unauthorized", SourceDown, "Yahoo Finance refused AAPL (401), even with a new cookie"),
        ("server_error", SourceDown, "Yahoo Finance answered 503 for AAPL"),
        ("html", SourceDown, "Yahoo Finance reports that it is down"),
        ("not_found", MalformedAnswer, "Yahoo Finance sent an answer for AAPL that is not a summary"),
        ("malformed", MalformedAnswer, "Yahoo Finance sent an answer for AAPL that is not a summary"),
        ("null_body", MalformedAnswer, "Yahoo Finance sent an answer for AAPL that is not a summary"),
        ("nested", MalformedAnswer, "Yahoo Finance sent an answer for AAPL that is not a summary"),
        ("drop", SourceUnreachable, None),
        ("endless", MalformedAnswer, "Yahoo Finance sent more than 16 MiB for AAPL"),
        ("bomb", MalformedAnswer, "Yahoo Finance sent more than 16 MiB for AAPL"),
    ],
)
def test_every_failure_has_a_name(yahoo, how, error, message):
    yahoo.serve_fundamentals("AAPL")
    yahoo.misbehave(how, SUMMARY)
    with pytest.raises(SourceError) as caught:
        fetch_fundamentals("AAPL")
    assert type(caught.value) is error
    assert message in (str(caught.value), None)


def test_an_answer_that_takes_too_long_is_given_up(yahoo, configured):
    configured(**{"integration.apis.yahoo_finance.timeout": 0.3})
    configured_sources.cache_clear()
    yahoo.misbehave("timeout", SUMMARY)
    with pytest.raises(SourceTimeout):
        fetch_fundamentals("AAPL")


def test_a_refused_crumb_is_renewed_once(yahoo):
    yahoo.serve_fundamentals("AAPL")
    before = len(yahoo.server.summary_requests())
    yahoo.misbehave("unauthorized", SUMMARY, times=1)
    assert fetch_fundamentals("AAPL") == SOUND
    assert [request.status for request in yahoo.server.summary_requests()[before:]] == [401, 200]


@pytest.mark.parametrize("how", ["server_error", "not_found", "malformed", "rate_limited"])
def test_what_yahoo_fails_at_is_not_asked_twice_and_works_when_it_does(yahoo, how):
    yahoo.serve_fundamentals("AAPL")
    before = len(yahoo.server.summary_requests())
    yahoo.misbehave(how, SUMMARY, times=1)
    with pytest.raises(SourceError):
        fetch_fundamentals("AAPL")
    assert len(yahoo.server.summary_requests()) == before + 1
    SourceState.objects.update(cooldown_until=None)
    assert fetch_fundamentals("AAPL") == SOUND


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"quoteSummary": None},
        {"quoteSummary": []},
        {"quoteSummary": {"error": None}},
        {"quoteSummary": {"result": []}},
        {"quoteSummary": {"result": None, "error": None}},
        {"quoteSummary": {"result": {"financialData": {}}, "error": None}},
        {"quoteSummary": {"result": [1, None, "text"], "error": None}},
        {"quoteSummary": {"result": [[]], "error": None}},
        {"finance": {"result": None, "error": {"code": "Not Found"}}},
    ],
)
@pytest.mark.parametrize("status", [200, 404])
def test_an_answer_of_another_shape_is_malformed(yahoo, monkeypatch, status, body):
    monkeypatch.setattr("tests.support.standins.yahoo.summary_answer", lambda *_asked: (status, body))
    with pytest.raises(MalformedAnswer, match="sent an answer for AAPL that is not a summary"):
        fetch_fundamentals("AAPL")


def test_fundamentals_that_come_as_not_found_are_malformed(yahoo, monkeypatch):
    monkeypatch.setattr("tests.support.standins.yahoo.summary_answer", lambda *_asked: (404, summary_body(summary())))
    with pytest.raises(MalformedAnswer, match="sent an answer for AAPL that is not a summary"):
        fetch_fundamentals("AAPL")


@pytest.mark.parametrize("status", [400, 405, 422])
def test_a_refusal_that_is_no_server_error_is_told_and_does_not_pass(yahoo, monkeypatch, status):
    monkeypatch.setattr("tests.support.standins.yahoo.summary_answer", lambda *_asked: (status, {"finance": None}))
    with pytest.raises(SourceError, match=f"Yahoo Finance answered {status} for AAPL") as refused:
        fetch_fundamentals("AAPL")
    assert not refused.value.retryable


def test_requests_for_fundamentals_are_counted_as_every_other_one(yahoo, configured):
    configured(**{"stock_jobs.data_fetch.rate_limit": 60})  # so low that each one is granted by itself
    yahoo.serve_fundamentals("AAPL")
    before = len(yahoo.server.requests)
    fetch_fundamentals("AAPL")
    counted = sum(SourceUse.objects.filter(source="yahoo_finance").values_list("requests", flat=True))
    assert counted == len(yahoo.server.requests) - before > 0


def test_fundamentals_wait_while_the_source_wants_to_be_left_alone(yahoo):
    yahoo.misbehave("rate_limited", SUMMARY, retry_after=60)
    with pytest.raises(RateLimited):
        fetch_fundamentals("AAPL")
    assert SourceState.objects.get().cooldown_until is not None
    asked = len(yahoo.server.requests)
    with pytest.raises(SourceBusy), spending(0.5):
        fetch_fundamentals("AAPL")
    assert len(yahoo.server.requests) == asked


def test_where_no_source_has_fundamentals_that_is_said(configured):
    configured(**{"stock_jobs.data_fetch.sources": ["sample", "cached"]})
    configured_sources.cache_clear()
    try:
        with pytest.raises(NotOffered, match=r"No source of stock_jobs\.data_fetch\.sources has fundamentals"):
            fetch_fundamentals("AAPL")
    finally:
        configured_sources.cache_clear()


# What is read of it


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (17, 17.0),
        (-0.25, -0.25),
        (0, 0.0),
        ({"raw": 17.5, "fmt": "17.50", "longFmt": "17.50"}, 17.5),
        (LARGEST * 0.99, LARGEST * 0.99),
        (LARGEST, None),
        (-LARGEST, None),
        (10**400, None),
        (float("inf"), None),
        (float("nan"), None),
        ("Infinity", None),
        ("17.5", None),
        (True, None),
        (None, None),
        ({}, None),
        ({"raw": None, "fmt": None}, None),
        ({"raw": {"raw": 1}}, None),
        ({"fmt": "17.50"}, None),
        ([17.5], None),
    ],
)
def test_a_number_is_one_only_where_it_is_a_finite_number(value, expected):
    assert read(trailingPE=value).trailing_pe == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1791763200, date(2026, 10, 12)),
        (1791763199, date(2026, 10, 11)),
        ({"raw": 1791763200, "fmt": "2026-10-12"}, date(2026, 10, 12)),
        (0, None),
        (-86400, None),
        (1e15, None),
        (1e300, None),
        ("2026-10-12", None),
        (True, None),
        (None, None),
    ],
)
def test_a_day_is_that_of_unix_seconds_in_utc(value, expected):
    found = read(exDividendDate=value, mostRecentQuarter=value)
    assert (found.ex_dividend_date, found.most_recent_quarter) == (expected, expected)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Semiconductor\x00 \u202eEquipment\n", "Semiconductor Equipment"),
        ("S" * 500, "S" * 99 + "…"),
        ("苹果", "苹果"),
        (None, ""),
        (7, ""),
        (["Technology"], ""),
        ({"raw": "Technology"}, "Technology"),
    ],
)
def test_texts_are_one_short_line(value, expected):
    found = read(sector=value, industry=value)
    assert (found.sector, found.industry) == (expected, expected)


def test_debt_to_equity_is_a_ratio_though_yahoo_has_it_in_per_cent():
    assert read(debtToEquity=145).debt_to_equity == 1.45
    assert read(debtToEquity=...).debt_to_equity is None


@pytest.mark.parametrize(("price", "statements"), [("INR", "USD"), ("GBp", "GBP")])
def test_what_yahoo_divides_by_another_currency_is_not_known(price, statements):
    assert read(currency=price, financialCurrency=statements) == SOUND._replace(
        currency=statements, price_currency=price, price_to_book=None, price_to_sales=None
    )


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["raw", "fmt", "x"]), inner),
    max_leaves=4,
)
_names = st.sampled_from([name for module in summary().values() for name in module])


@settings(deadline=None)  # the machine may be busy
@given(
    answer=_json
    | st.builds(
        summary_body, _json | st.dictionaries(st.sampled_from(MODULES), _json | st.dictionaries(_names, _json))
    )
)
def test_a_summary_may_lack_or_confuse_anything(answer):
    found = read_summary(answer)
    if found is not None:
        texts = (found.currency, found.price_currency, found.sector, found.industry)
        assert all(isinstance(text, str) for text in texts)
        assert all(day is None or isinstance(day, date) for day in (found.most_recent_quarter, found.ex_dividend_date))
        numbers = [number for name in NUMBERS if (number := getattr(found, name)) is not None]
        assert numbers
        assert all(isinstance(number, float) and abs(number) < LARGEST for number in numbers)
        json.dumps(numbers, allow_nan=False)


@pytest.mark.skipif(not RECORDED.is_dir(), reason="no recorded answers beside this checkout")
def test_all_fundamentals_are_found_where_a_recorded_answer_has_them():
    answer = json.loads((RECORDED / "quoteSummary-all-AAPL.json").read_text())["body"]
    (modules,) = answer["quoteSummary"]["result"]
    found = read_summary(answer)
    assert found is not None
    assert None not in found
    share, price = modules["defaultKeyStatistics"], modules["financialData"]["currentPrice"]
    equity = share["bookValue"] * share["sharesOutstanding"]
    assert found.debt_to_equity == pytest.approx(found.total_debt / equity, rel=0.05)
    assert found.dividend_yield == pytest.approx(found.dividend_rate / price, rel=0.05)
    assert found.trailing_pe == pytest.approx(price / found.trailing_eps, rel=0.05)
    assert found.price_to_book == pytest.approx(price / share["bookValue"], rel=0.05)


# The analysis

NOW = datetime(2026, 11, 26, 1, 30, tzinfo=timezone(timedelta(hours=3)))  # the day before in UTC


@pytest.fixture
def stock() -> Stock:
    return Stock.objects.create(symbol="AAPL")


def test_fundamentals_become_an_analysis_with_its_reasons(stock):
    analysis = analyse_fundamentals(stock, SOUND, NOW)
    assert analysis.pk is None
    analysis.save()
    found, expected = Analysis.objects.get(), recommend_by_fundamentals(SOUND)
    assert (found.stock, found.kind, found.version) == (stock, "fundamental", VERSION)
    assert (found.data_as_of, found.bars, found.bars_changed_at) == (NOW.astimezone(UTC).date(), None, None)
    assert (found.recommendation, found.confidence) == ("BUY", expected.confidence)
    assert found.contributions == [one._asdict() for one in expected.contributions]


def test_its_values_are_the_fundamentals_with_days_as_texts(stock):
    analyse_fundamentals(stock, SOUND, NOW).save()
    assert Analysis.objects.get().values == SOUND._asdict() | {
        "most_recent_quarter": "2026-09-30",
        "ex_dividend_date": "2026-10-12",
    }


def test_what_is_not_known_is_null_in_its_values(stock):
    analyse_fundamentals(stock, Fundamentals(trailing_pe=12.5), NOW).save()
    found = Analysis.objects.get()
    assert {name for name, value in found.values.items() if value} == {"trailing_pe"}
    assert (found.recommendation, found.confidence) == ("", None)


def test_where_a_source_has_none_there_is_no_recommendation(stock):
    analyse_fundamentals(stock, None, NOW).save()
    found = Analysis.objects.get()
    assert (found.kind, found.version, found.data_as_of) == ("fundamental", VERSION, date(2026, 11, 25))
    assert (found.values, found.recommendation, found.confidence, found.contributions) == ({}, "", None, [])
