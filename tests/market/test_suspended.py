"""A stock that the source knows, and has no prices of, is neither unknown nor delisted."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from market.freshness import Freshness
from market.jobs.requests import request_batches, request_fetches
from market.models import Stock
from tasks.models import Job
from tasks.running.execute import JobFailed, run_job
from tests.support.standins.yahoo import daily_bars

pytestmark = pytest.mark.django_db


def fetch(stock: Stock, trigger: Job.Trigger = Job.Trigger.USER_LOGIN) -> dict[str, Any] | None:
    (job,) = request_fetches([stock], trigger).jobs
    return run_job(job.pk, "worker")


@pytest.mark.parametrize(
    ("symbol", "exchange", "zone", "currency"),
    [("3333.HK", "HKG", "Asia/Hong_Kong", "HKD"), ("SUSP.L", "LSE", "Europe/London", "GBp")],
)
def test_a_stock_whose_trade_is_suspended_for_months_stays_active_and_comes_back(
    travel, yahoo, symbol, exchange, zone, currency
):
    listing = {"exchange": exchange, "timezone": zone, "currency": currency}
    yahoo.touched.append(symbol)
    now = travel("2026-09-03 03:00")
    bars = daily_bars(symbol, 20, until=now.date() - timedelta(days=1))
    yahoo.server.serve(symbol, bars, **listing)
    stock = Stock.objects.create(symbol=symbol)
    assert fetch(stock)
    for day in range(16, 20):
        now = travel(f"2026-11-{day} 03:00")
        result = fetch(stock)
        assert result
        assert f"Yahoo Finance has no prices of {symbol}" in result["reason"]
        stock.refresh_from_db()
        assert (stock.status, stock.misses) == ("active", 0)
        assert stock.checked_at
        assert now - stock.checked_at < timedelta(minutes=1)
        assert not Freshness.of([stock], timezone.now()).is_stale(stock)
        assert stock.bars.count() == 20
    now = travel("2026-11-20 03:00")
    yahoo.server.serve(symbol, daily_bars(symbol, 21, until=now.date()), **listing)
    result = fetch(stock)
    assert result
    assert result["records_stored"]


@pytest.mark.django_db(transaction=True)
def test_a_suspended_member_costs_a_batch_nothing(yahoo):
    yahoo.serve("FINE", "SUSP")
    yahoo.misbehave("empty", "SUSP")
    stocks = [Stock.objects.create(symbol=symbol) for symbol in ("FINE", "SUSP")]
    (job,) = request_batches(stocks, Job.Trigger.SCHEDULED_UPDATE).created
    result = run_job(job.pk, "worker")
    assert result
    assert result["results"]["FINE"]["records"] > 0
    assert "no prices of SUSP" in result["results"]["SUSP"]["reason"]
    assert Job.objects.get().outcome == Job.Outcome.UPDATED
    assert Stock.objects.get(symbol="SUSP").checked_at


def test_only_a_symbol_that_the_source_does_not_know_is_a_miss(yahoo):
    yahoo.touched.append("NONE")
    yahoo.server.forget("NONE")
    stock = Stock.objects.create(symbol="NONE")
    with pytest.raises(JobFailed, match="no data for NONE"):
        fetch(stock)
    stock.refresh_from_db()
    assert stock.misses == 1
