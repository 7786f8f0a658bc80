"""The sources are asked one after another, and the sample data is one of them."""

from datetime import UTC, date, datetime, timedelta

import pytest

from market.sources import fetch_history
from market.sources.base import RateLimited, SourceDown, SourceError, SymbolNotFound
from market.sources.sample import SAMPLE_FOLDER, SampleSource
from tests.support.standins.yahoo import daily_bars
from tests.support.yahoo_histories import SINCE, six_values

# The sources one after another


@pytest.fixture
def yahoo_then_sample(yahoo, configure) -> None:
    configure(**{"stock_jobs.data_fetch.sources": ("yahoo_finance", "alpha_vantage", "cached", "sample")})


@pytest.mark.django_db
def test_the_first_source_that_answers_is_used(yahoo, yahoo_then_sample):
    yahoo.serve("AAPL")

    history = fetch_history("AAPL", SINCE)

    assert history.source == "yahoo_finance"
    assert six_values(history.bars) == six_values(daily_bars("AAPL", 25))


@pytest.mark.django_db
@pytest.mark.parametrize("how", ["rate_limited", "server_error", "html", "malformed", "drop"])
def test_the_next_source_answers_when_the_first_one_fails(yahoo, yahoo_then_sample, how):
    yahoo.misbehave(how, "AAPL")

    assert fetch_history("AAPL", SINCE).source == "sample"


@pytest.mark.django_db
def test_a_symbol_that_the_first_source_does_not_know_is_unknown(yahoo, yahoo_then_sample):
    assert SampleSource().history("MSFT", SINCE).bars
    yahoo.server.forget("MSFT")

    with pytest.raises(SymbolNotFound, match="Yahoo Finance has no data for MSFT"):
        fetch_history("MSFT", SINCE)


@pytest.mark.django_db
def test_a_symbol_is_not_unknown_because_a_later_source_does_not_know_it(yahoo, yahoo_then_sample, symbol):
    yahoo.misbehave("rate_limited", symbol)

    with pytest.raises(RateLimited, match=r"Yahoo Finance refused .*\(429\)"):
        fetch_history(symbol, SINCE)


@pytest.mark.django_db
def test_the_error_of_a_lone_source_is_raised(yahoo, configure, symbol):
    configure(**{"stock_jobs.data_fetch.sources": ("yahoo_finance", "alpha_vantage", "cached")})
    yahoo.misbehave("server_error", symbol)

    with pytest.raises(SourceDown, match="Yahoo Finance answered 503"):
        fetch_history(symbol, SINCE)


def test_without_an_available_source_the_setting_is_named(configure):
    configure(**{"stock_jobs.data_fetch.sources": ("alpha_vantage", "cached")})

    with pytest.raises(SourceError, match=r"No source of stock_jobs\.data_fetch\.sources is available"):
        fetch_history("AAPL", SINCE)


def test_sources_are_asked_in_the_configured_order(yahoo, configure):
    configure(**{"stock_jobs.data_fetch.sources": ("sample", "yahoo_finance")})

    assert fetch_history("AAPL", SINCE).source == "sample"
    assert yahoo.asked_for() == []


# Sample data


def last_weekday(day: date) -> date:
    return day - timedelta(days=max(0, day.weekday() - 4))


def test_sample_bars_end_today_or_on_the_last_weekday():
    before = datetime.now(UTC).date()
    bars = SampleSource().history("AAPL", SINCE).bars
    after = datetime.now(UTC).date()

    dates = [bar.date for bar in bars]
    assert dates[-1] in {last_weekday(before), last_weekday(after)}
    assert dates == sorted(set(dates))
    assert all(day.weekday() < 5 and day >= SINCE for day in dates)


def test_sample_bars_are_the_newest_rows_of_the_file():
    lines = (SAMPLE_FOLDER / "AAPL.csv").read_text().splitlines()[2:]

    bars = SampleSource().history("AAPL", SINCE).bars

    rows = [tuple(float(value) for value in line.split(",")) for line in lines[-len(bars) :]]
    assert [(bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in bars] == rows


def test_the_sample_data_has_no_other_symbols(yahoo):
    with pytest.raises(SymbolNotFound, match="Sample data has no data for ZZTOP"):
        SampleSource().history("ZZTOP", SINCE)


def test_sample_data_says_that_it_is_sample_data():
    history = SampleSource().history("AAPL", SINCE)
    assert (history.source, history.name, history.exchange) == ("sample", "AAPL (sample)", "SAMPLE")

    for file in SAMPLE_FOLDER.glob("*.csv"):
        assert file.read_text().startswith("# Sample data: an invented random walk, not market prices.")
