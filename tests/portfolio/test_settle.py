"""Charts of stocks that quotes keep fresh: once a week, and after a session whose quotes did not continue the bars."""

import json
from collections.abc import Callable, Sequence
from dataclasses import astuple, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import time_machine
from django.utils import timezone

from market.jobs.requests import request_batches
from market.models import PriceBar, SourceUse, Stock, TradingSession
from market.prices.store import store_history
from market.sources.base import Bar, History
from portfolio.schedules.settling import fetch_settle
from portfolio.schedules.warming import fetch_warm
from tasks.models import Job
from tests.support.jobs import result_of, run_once
from tests.support.standins import yahoo_chart
from tests.support.standins.yahoo_chart import daily_bars

pytestmark = pytest.mark.django_db(transaction=True)

RECORDED = Path(__file__).resolve().parents[3] / "shared" / "yahoo-recorded"
TUESDAY = date(2026, 3, 10)
OPENS = time(13, 30)
CLOSES, CLOSES_EARLY = time(20), time(17)


def at(clock: time, day: date = TUESDAY) -> datetime:
    return datetime.combine(day, clock, UTC)


@pytest.fixture
def sessions() -> Callable[..., None]:
    """sessions(closes, day): New York's sessions of two weeks; the day's session closes at this time."""

    def sessions(closes: time, last: date = TUESDAY) -> None:
        days = [last + timedelta(days=number) for number in range(-7, 8)]
        TradingSession.objects.bulk_create(
            TradingSession(
                calendar="XNYS", opens_at=at(OPENS, day), closes_at=at(closes if day == last else CLOSES, day)
            )
            for day in days
            if day.weekday() < 5
        )

    return sessions


def held(hold, user, symbol: str = "AAPL", **fields: object) -> Stock:
    """A held stock of an exchange that never closes, checked just now, with a chart of yesterday."""
    now = timezone.now()
    hold(user, symbol)
    known = {"exchange": "CCC", "source": "yahoo_finance", "checked_at": now, "charted_at": now - timedelta(days=1)}
    Stock.objects.filter(symbol=symbol).update(**(known | fields))
    return Stock.objects.get(symbol=symbol)


def settled() -> list[str]:
    """The stocks whose charts are requested now."""
    return sorted(symbol for job in fetch_settle().created for symbol in job.parameters["symbols"])


# When


@pytest.mark.parametrize(
    ("fields", "is_due"),
    [
        ({}, False),
        ({"charted_at": timedelta(days=6, hours=23)}, False),
        ({"charted_at": timedelta(days=7, minutes=1)}, True),
        ({"charted_at": None}, True),
        ({"charted_at": timedelta(days=8), "status": "delisted"}, False),
        ({"charted_at": None, "checked_at": None}, False),  # the first fetch is a chart
    ],
    ids=str,
)
def test_a_chart_is_fetched_once_a_week(user, hold, fields, is_due):
    ages = {name: timezone.now() - age for name, age in fields.items() if isinstance(age, timedelta)}
    held(hold, user, **(fields | ages))
    assert settled() == (["AAPL"] if is_due else [])


def test_only_held_and_watched_stocks_are_settled(user, hold, configure):
    held(hold, user, "HELD", charted_at=None)
    Stock.objects.create(symbol="WATCHED", checked_at=timezone.now())
    Stock.objects.create(symbol="OTHER", checked_at=timezone.now())
    configure(**{"market.watchlist": ("WATCHED",)})
    assert {symbol for _ in range(40) for symbol in settled()} == {"HELD", "WATCHED"}  # one in a run, in any order


def test_the_charts_of_a_week_are_spread_over_its_days(user, hold):
    hold(user, *(f"S{number}" for number in range(600)))
    Stock.objects.update(checked_at=timezone.now())
    assert len(settled()) == 2  # of 600 in 1008 runs a week, and twice as many as would do


def test_half_of_the_requests_are_left_to_others(user, hold, configure):
    hold(user, *(f"S{number}" for number in range(10)))
    Stock.objects.update(checked_at=timezone.now(), needs_settling=True)
    configure(**{"stock_jobs.data_fetch.rate_limit": 10})
    SourceUse.objects.create(source="yahoo_finance", granted_at=timezone.now(), requests=1)  # of seven
    assert len(settled()) == 3


def test_after_a_session_with_a_reason_the_chart_is_fetched_once_its_prices_are_settled(user, hold, sessions):
    sessions(CLOSES)
    held(hold, user, exchange="NMS", charted_at=at(time(15)), needs_settling=True)
    for clock, due in ((time(19, 59), []), (time(20, 59), []), (time(21), ["AAPL"])):
        with time_machine.travel(at(clock), tick=False):
            assert settled() == due
    Job.objects.all().delete()
    Stock.objects.update(charted_at=at(time(21, 5)))
    with time_machine.travel(at(time(22)), tick=False):
        assert settled() == []


def test_where_no_exchange_closes_the_chart_is_fetched_a_day_after_the_reason(user, hold):
    stock = held(hold, user, charted_at=timezone.now() - timedelta(hours=23), needs_settling=True)
    assert settled() == []
    Stock.objects.filter(pk=stock.pk).update(charted_at=timezone.now() - timedelta(hours=25))
    assert settled() == ["AAPL"]


def test_the_schedule_can_be_turned_off(user, hold, configure):
    held(hold, user, charted_at=None)
    configure(**{"stock_jobs.settle.enabled": False})
    assert settled() == []


# What


@pytest.fixture
def trade(yahoo) -> Callable[[datetime, Sequence[yahoo_chart.Bar], float], None]:
    """trade(moment, bars, done): Yahoo's prices at a moment when so much of the last bar's session is done."""

    def trade(moment: datetime, bars: Sequence[yahoo_chart.Bar], done: float) -> None:
        last = bars[-1]
        close = last.open + (last.close - last.open) * done
        high, low = max(last.open, close), min(last.open, close)
        so_far = replace(last, close=close, adj_close=close, volume=int(last.volume * done), high=high, low=low)
        yahoo.server.serve("AAPL", [*bars[:-1], last if done == 1 else so_far], exchange="NMS")
        yahoo.server.serve_quote("AAPL", yahoo.server.quote_of("AAPL", regularMarketTime=int(moment.timestamp())))

    yahoo.touched.append("AAPL")
    return trade


def stored() -> list[Bar]:
    return [Bar._make(values) for values in PriceBar.objects.order_by("date").values_list(*Bar._fields)]


@pytest.fixture
def quoted_session(yahoo, user, hold, sessions, trade) -> Callable[[Sequence[yahoo_chart.Bar], time], datetime]:
    """quoted_session(bars, closes): all bars but the last are stored, and quotes follow the last one's session.

    Returns the time two hours after the close.
    """

    def quoted_session(bars: Sequence[yahoo_chart.Bar], closes: time) -> datetime:
        opens_at, closes_at = at(OPENS, bars[-1].date), at(closes, bars[-1].date)
        sessions(closes, bars[-1].date)
        hold(user, "AAPL")
        with time_machine.travel(opens_at - timedelta(days=8), tick=False):
            known = [Bar(*astuple(bar)) for bar in bars[:-1]]
            store_history(History("AAPL", "yahoo_finance", known, exchange="NMS", currency="USD"), timezone.now())
        clock, via = opens_at, set()
        while clock < closes_at + timedelta(hours=2):
            clock += timedelta(minutes=27)
            with time_machine.travel(clock, tick=False):
                trade(min(clock, closes_at), bars, min(1.0, (clock - opens_at) / (closes_at - opens_at)))
                batches = [result_of(run_once(job))["results"] for job in fetch_warm().created]
                via |= {member["via"] for batch in batches for member in batch.values()}
        assert via == {"quote"}
        assert yahoo.asked_for() == []
        return clock

    return quoted_session


def settle() -> None:
    """Fetch the chart that is due, and what it shows to be outdated."""
    (settling,) = fetch_settle().created
    assert result_of(run_once(settling))["results"]["AAPL"]["via_reason"] == "the chart was asked for"
    for repair in Job.objects.filter(parameters__mode="replace"):
        run_once(repair)


@pytest.mark.parametrize("closes", [CLOSES, CLOSES_EARLY], ids=["an ordinary day", "half a day"])
@pytest.mark.parametrize("dividend", [False, True], ids=["", "with a dividend"])
def test_after_a_session_of_quotes_and_settling_the_bars_are_those_of_the_chart(
    yahoo, quoted_session, closes, dividend
):
    bars = [replace(bar, adj_close=bar.close) for bar in daily_bars("AAPL", 25, until=TUESDAY)]
    clock = quoted_session(bars, closes)
    if dividend:  # the source lowers the adjusted closes of all days before
        bars = [replace(bar, adj_close=bar.close * 0.99) for bar in bars[:-1]] + bars[-1:]
    with time_machine.travel(clock, tick=False):
        yahoo.server.serve("AAPL", bars, exchange="NMS")
        settle()
    assert stored() == [Bar(*astuple(bar)) for bar in bars]
    stock = Stock.objects.get()
    assert (stock.charted_at, stock.needs_settling) == (clock, False)


@pytest.mark.skipif(not RECORDED.is_dir(), reason="no recorded answers beside this checkout")
@pytest.mark.parametrize(
    "name",
    [
        "chart-AAPL-2020-08-31-to-2020-11-07.json",
        "chart-MSFT-dividends-2021-02-01-to-2022-01-31.json",
        "chart-NVDA-split-2021-02-01-to-2022-01-31.json",
    ],
)
def test_after_a_session_of_quotes_and_settling_the_bars_are_those_of_a_recorded_chart(yahoo, quoted_session, name):
    bars = recorded_bars(name)
    clock = quoted_session(bars, CLOSES)
    with time_machine.travel(clock, tick=False):
        settle()
    assert stored() == [Bar(*astuple(bar)) for bar in bars]


def recorded_bars(name: str) -> list[yahoo_chart.Bar]:
    (chart,) = json.loads((RECORDED / name).read_text())["body"]["chart"]["result"]
    (prices,), (adjusted,) = chart["indicators"]["quote"], chart["indicators"]["adjclose"]
    zone = ZoneInfo(chart["meta"]["exchangeTimezoneName"])
    days = [datetime.fromtimestamp(moment, zone).date() for moment in chart["timestamp"]]
    columns = [prices[field] for field in ("open", "high", "low", "close")] + [adjusted["adjclose"], prices["volume"]]
    return [yahoo_chart.Bar(day, *values) for day, *values in zip(days, *columns, strict=True)]


def test_a_quote_that_does_not_continue_the_bars_is_a_reason_to_settle(yahoo, user, hold, sessions, trade):
    sessions(CLOSES)
    hold(user, "AAPL")
    bars = [replace(bar, adj_close=bar.close) for bar in daily_bars("AAPL", 25, until=TUESDAY)]
    known = [Bar(*astuple(bar)) for bar in bars[:-1]]
    half = [replace(bar, open=bar.open / 2, high=bar.high / 2, low=bar.low / 2, close=bar.close / 2) for bar in bars]
    with time_machine.travel(at(time(15)), tick=False):
        answer = History("AAPL", "yahoo_finance", known, exchange="NMS", currency="USD")
        store_history(answer, timezone.now() - timedelta(hours=1))
        trade(timezone.now(), [replace(bar, adj_close=bar.close) for bar in half], 0.5)
        for job in fetch_warm().created:
            run_once(job)
    assert yahoo.asked_for() == ["AAPL"]
    assert Stock.objects.get().needs_settling


def test_a_batch_of_charts_fetches_fresh_stocks_too(yahoo, user, hold):
    yahoo.serve("AAPL")
    stock = held(hold, user)
    (job,) = request_batches([stock], Job.Trigger.MAINTENANCE, charts=True).created
    assert job.priority == 6
    member = result_of(run_once(job))["results"]["AAPL"]
    assert (member["via"], member["via_reason"]) == ("chart", "the chart was asked for")
