"""Bars that a source has withdrawn, and histories that it has no more."""

from collections.abc import Sequence
from dataclasses import astuple, replace
from datetime import date, timedelta
from typing import Any

import pytest
from django.utils import timezone

from market.jobs.requests import request_analyses, request_fetches
from market.models import Analysis, BarDecision, PriceBar, Stock
from market.prices.decisions import decide
from market.prices.store import store_history
from market.sources.base import Bar, History
from tasks.models import Job
from tasks.running.execute import JobFailed, run_job
from tests.support.prices import stored_days
from tests.support.standins.yahoo import daily_bars
from tests.support.standins.yahoo_chart import Bar as ServedBar

pytestmark = pytest.mark.django_db


def fetch(symbol: str, **parameters: Any) -> dict[str, Any]:
    stock, _ = Stock.objects.get_or_create(symbol=symbol)
    (job,) = request_fetches([stock], Job.Trigger.USER_REQUEST, **parameters).jobs
    result = run_job(job.pk, "worker")
    assert result
    return result


def without(bars: Sequence[ServedBar], *days: date) -> list[ServedBar]:
    return [bar for bar in bars if bar.date not in days]


@pytest.mark.parametrize(
    ("exchange", "zone", "currency", "holiday", "now"),
    [
        ("NMS", "America/New_York", "USD", "2026-11-26", "2026-11-27 20:00"),
        ("LSE", "Europe/London", "GBp", "2026-12-25", "2026-12-29 18:00"),
        ("ATH", "Europe/Athens", "EUR", "2026-10-28", "2026-10-30 18:00"),
        ("JPX", "Asia/Tokyo", "JPY", "2026-11-23", "2026-11-25 08:00"),
    ],
)
def test_a_bar_of_a_holiday_goes_when_the_source_takes_it_back(
    travel, yahoo, configure, exchange, zone, currency, holiday, now
):
    configure(**{"stock_jobs.data_fetch.quote_size": 1})  # a quote says nothing about other days
    day = date.fromisoformat(holiday)
    listing = {"exchange": exchange, "timezone": zone, "currency": currency}
    yahoo.touched.append("PHA")
    travel(f"{holiday} 16:00")
    phantom = daily_bars("PHA", 25, until=day)
    assert phantom[-1].date == day
    yahoo.server.serve("PHA", phantom, **listing)
    fetch("PHA")
    assert day in stored_days(Stock.objects.get(symbol="PHA"))
    moment = travel(now)
    later = daily_bars("PHA", 30, until=moment.date())
    yahoo.server.serve("PHA", without(later, day), **listing)
    fetch("PHA")
    assert day not in stored_days(Stock.objects.get(symbol="PHA"))


@pytest.mark.parametrize(("exchange", "zone"), [("NMS", "America/New_York"), ("KUW", "Asia/Kuwait")])
def test_a_bar_of_a_session_stays_while_the_source_lacks_it(travel, yahoo, exchange, zone):
    listing = {"exchange": exchange, "timezone": zone}
    yahoo.touched.append("GAP")
    now = travel("2026-11-25 22:30")
    bars = daily_bars("GAP", 25, until=now.date())
    yahoo.server.serve("GAP", bars, **listing)
    fetch("GAP")
    travel("2026-11-27 20:00")
    yahoo.server.serve("GAP", without(bars, bars[-4].date), **listing)
    fetch("GAP")
    assert bars[-4].date in stored_days(Stock.objects.get())


def run_all(symbol: str) -> None:
    """Run the pending jobs of a stock, and the jobs that they request, a few rounds."""
    for _round in range(4):
        for job in Job.objects.active().filter(symbol=symbol).order_by("job_type"):
            Job.objects.filter(pk=job.pk).update(run_at=None)
            try:
                run_job(job.pk, "worker")
            except JobFailed:
                continue


def test_a_ticker_of_another_company_loses_the_bars_of_the_first_and_is_analysed(travel, yahoo):
    yahoo.touched.append("FB")
    now = travel("2026-03-06 21:30")
    yahoo.server.serve("FB", daily_bars("FB", 20, until=now.date()), exchange="NMS", name="Old Company")
    fetch("FB")
    now = travel("2026-11-27 20:00")
    bars = [replace(bar, close=bar.close / 9, adj_close=bar.adj_close / 9) for bar in daily_bars("FB", 15, now.date())]
    yahoo.server.serve("FB", bars, exchange="NMS", name="New Fund")
    fetch("FB")
    stock = Stock.objects.get()
    assert stock.name == "New Fund"
    request_analyses([stock], Job.Trigger.USER_REQUEST, None, analysis_types=[Analysis.Kind.TECHNICAL])
    run_all("FB")
    assert stored_days(stock) == [bar.date for bar in bars]
    assert Analysis.objects.get().bars == 15
    assert not Job.objects.filter(status="failed").exists()


@pytest.mark.parametrize("ratio", [2.0, 0.1, 1.0])
def test_earlier_bars_that_the_source_has_no_more_are_adjusted_like_the_first_common_bar(ratio):
    Stock.objects.create(symbol="OLD", source="yahoo_finance")
    bars = [Bar(*astuple(bar)) for bar in daily_bars("OLD", 40)]
    store_history(History("OLD", "yahoo_finance", bars), timezone.now())
    adjusted = [
        bar._replace(close=bar.close / ratio, adj_close=(bar.adj_close or 0) / ratio * 0.98) for bar in bars[10:]
    ]
    answer = History("OLD", "yahoo_finance", adjusted)
    store_history(answer, timezone.now(), asked_from=bars[0].date, replace=True)
    stock = Stock.objects.get()
    assert not stock.is_outdated
    stored = dict(stock.bars.values_list("date", "close"))
    assert [stored[bar.date] for bar in bars] == pytest.approx([bar.close / ratio for bar in bars])
    of_dividends = dict(stock.bars.values_list("date", "adj_close"))
    expected = [(bar.adj_close or 0) / ratio * 0.98 for bar in bars]
    assert [of_dividends[bar.date] for bar in bars] == pytest.approx(expected)


@pytest.mark.parametrize("common", [True, False])
def test_a_locked_earlier_bar_stays_as_it_is(common):
    Stock.objects.create(symbol="OLD", source="yahoo_finance")
    bars = [Bar(*astuple(bar)) for bar in daily_bars("OLD", 40)]
    store_history(History("OLD", "yahoo_finance", bars if common else bars[:10]), timezone.now())
    decide(PriceBar.objects.get(date=bars[3].date), BarDecision.Kind.LOCKED, "operator")
    answer = History("OLD", "yahoo_finance", [bar._replace(close=bar.close / 2) for bar in bars[20:]])
    store_history(answer, timezone.now(), asked_from=bars[0].date, replace=True)
    assert PriceBar.objects.get(date=bars[3].date).close == bars[3].close


def test_earlier_bars_without_a_common_bar_go():
    Stock.objects.create(symbol="OLD", source="yahoo_finance")
    bars = [Bar(*astuple(bar)) for bar in daily_bars("OLD", 40)]
    store_history(History("OLD", "yahoo_finance", bars[:10]), timezone.now())
    answer = History("OLD", "yahoo_finance", bars[20:])
    store_history(answer, timezone.now(), asked_from=bars[0].date, replace=True)
    assert stored_days(Stock.objects.get()) == [bar.date for bar in bars[20:]]


def test_an_ordinary_fetch_removes_no_earlier_bar():
    Stock.objects.create(symbol="OLD", source="yahoo_finance")
    bars = [Bar(*astuple(bar)) for bar in daily_bars("OLD", 40)]
    store_history(History("OLD", "yahoo_finance", bars), timezone.now())
    store_history(History("OLD", "yahoo_finance", bars[20:], begins=bars[20].date), timezone.now())
    assert PriceBar.objects.count() == 40


# A split or dividend between two fetches


@pytest.mark.parametrize(("exchange", "zone", "currency"), [("CCC", "UTC", "USD"), ("CCC", "Europe/London", "GBp")])
@pytest.mark.parametrize("ratio", [2, 10])
def test_a_split_between_two_fetches_a_month_apart_adjusts_the_whole_history(
    travel, yahoo, exchange, zone, currency, ratio
):
    listing = {"exchange": exchange, "timezone": zone, "currency": currency}
    yahoo.touched.append("MLS")
    now = travel("2026-10-28 21:30")
    before = daily_bars("MLS", 200, until=now.date())
    yahoo.server.serve("MLS", before, **listing)
    fetch("MLS", start=before[0].date)
    now = travel("2026-11-27 21:30")
    everything = daily_bars("MLS", 222, until=now.date())
    split = [replace(bar, close=bar.close / ratio, adj_close=bar.adj_close / ratio) for bar in everything]
    yahoo.server.serve("MLS", split, splits={date(2026, 11, 10): (ratio, 1)}, **listing)
    fetch("MLS")
    run_all("MLS")
    stored = list(Stock.objects.get(symbol="MLS").bars.order_by("date").values_list("date", "close"))
    assert stored == [(bar.date, bar.close) for bar in split]


def test_a_dividend_between_two_fetches_a_month_apart_adjusts_the_whole_history(travel, yahoo):
    yahoo.touched.append("DIV")
    now = travel("2026-10-28 21:30")
    before = daily_bars("DIV", 200, until=now.date())
    yahoo.server.serve("DIV", before)
    fetch("DIV", start=before[0].date)
    now = travel("2026-11-27 21:30")
    paid = date(2026, 11, 10)
    everything = [
        replace(bar, adj_close=bar.adj_close * (0.97 if bar.date < paid else 1))
        for bar in daily_bars("DIV", 222, until=now.date())
    ]
    yahoo.server.serve("DIV", everything, dividends={paid: 1.5})
    fetch("DIV")
    run_all("DIV")
    stored = list(Stock.objects.get().bars.order_by("date").values_list("date", "adj_close"))
    assert stored == [(bar.date, bar.adj_close) for bar in everything]
    assert timedelta(days=30) <= stored[-1][0] - before[-1].date
