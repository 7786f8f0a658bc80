"""A history that a source has adjusted since is fetched again from its first bar."""

from collections.abc import Sequence
from dataclasses import astuple, replace
from typing import Any

import pytest
from django.utils import timezone

from market.jobs.requests import request_batches, request_fetches
from market.models import PriceBar, Stock
from market.prices.store import store_history
from market.sources import base
from tasks.models import Job
from tasks.running.execute import run_job
from tests.support.prices import keep, serve, stored_days
from tests.support.standins.yahoo import daily_bars
from tests.support.standins.yahoo_chart import Bar

pytestmark = pytest.mark.django_db


def split(bars: Sequence[Bar], ratio: int) -> list[Bar]:
    """The bars as Yahoo tells them after a split."""
    return [replace(bar, close=bar.close / ratio, adj_close=bar.adj_close / ratio) for bar in bars]


def with_dividend(bars: Sequence[Bar], paid: int) -> list[Bar]:
    """The bars after a dividend before the last `paid` ones: adjusted closes before it are less."""
    return [replace(bar, adj_close=bar.adj_close * 0.99) for bar in bars[:-paid]] + list(bars[-paid:])


def fetch(stock: Stock, *, in_batch: bool = False) -> dict[str, Any]:
    Stock.objects.update(checked_at=None)
    request = request_batches if in_batch else request_fetches
    (job,) = request([stock], Job.Trigger.SCHEDULED_UPDATE).created
    result = run_job(job.pk, "worker")
    assert result
    return result


@pytest.mark.parametrize("adjust", [lambda bars: split(bars, 4), lambda bars: with_dividend(bars, 3)])
def test_a_history_that_was_adjusted_is_fetched_anew_from_its_first_bar(adjust, aapl, yahoo):
    bars = daily_bars("AAPL", 100)
    keep(aapl, bars[:-1])
    serve(yahoo, adjust(bars))
    result = fetch(aapl)
    assert result["adjusted"] == f"fetched again from {bars[0].date}"
    job = Job.objects.active().get()
    assert (job.trigger, job.queue, job.parameters["mode"]) == ("maintenance", "background_fetch", "replace")
    run_job(job.pk, "worker")
    stored = PriceBar.objects.order_by("date").values_list("date", "close", "adj_close")
    assert list(stored) == [(bar.date, bar.close, bar.adj_close) for bar in adjust(bars)]
    assert "adjusted" not in fetch(aapl)
    assert not Job.objects.active().exists()


@pytest.mark.django_db(transaction=True)
def test_a_batch_notices_it_too(aapl, yahoo):
    bars = daily_bars("AAPL", 100)
    keep(aapl, bars)
    serve(yahoo, split(bars, 2))
    assert fetch(aapl, in_batch=True)["results"]["AAPL"]["adjusted"] == f"fetched again from {bars[0].date}"
    assert Job.objects.active().get().parameters["mode"] == "replace"


def test_it_is_asked_for_again_until_all_of_it_has_come(aapl, yahoo):
    bars = daily_bars("AAPL", 100)
    keep(aapl, bars)
    serve(yahoo, split(bars, 2))
    fetch(aapl)
    Job.objects.active().update(status="failed", finished_at=timezone.now())
    assert "adjusted" in fetch(aapl)
    assert Job.objects.active().count() == 1


def test_a_stock_that_was_not_fetched_for_longer_than_a_fetch_goes_back_is_fetched_anew(aapl, yahoo):
    bars = daily_bars("AAPL", 100)
    keep(aapl, bars[:40])
    serve(yahoo, bars)
    assert fetch(aapl)["adjusted"] == f"fetched again from {bars[0].date}"


def test_todays_bar_and_single_corrections_adjust_nothing(aapl, yahoo):
    bars = daily_bars("AAPL", 100)
    keep(aapl, bars)
    corrected = [*bars[:-5], *split(bars[-5:-4], 3), *bars[-4:-1], *split(bars[-1:], 2)]
    serve(yahoo, corrected)
    assert "adjusted" not in fetch(aapl)
    assert not Job.objects.active().exists()


def test_another_source_adjusts_nothing(aapl, yahoo):
    bars = daily_bars("AAPL", 100)
    keep(aapl, bars)
    Stock.objects.update(source="sample")
    serve(yahoo, split(bars, 2))
    assert "adjusted" not in fetch(aapl)


def test_an_answer_with_prices_as_traded_hides_no_adjustment(aapl, yahoo):
    bars = daily_bars("AAPL", 100)
    keep(aapl, bars[:-2])
    traded = [base.Bar(*astuple(bar))._replace(adj_close=None) for bar in split(bars[-20:-1], 2)]
    first = store_history(base.History("AAPL", "alpha_vantage", traded), timezone.now())
    assert (first.written, first.outdated_from) == (2, None)
    serve(yahoo, split(bars, 2))
    assert fetch(aapl)["adjusted"] == f"fetched again from {bars[0].date}"


def test_prices_as_traded_do_not_replace_an_outdated_history(aapl):
    bars = daily_bars("AAPL", 100)
    keep(aapl, bars)
    Stock.objects.update(is_outdated=True)
    traded = [base.Bar(*astuple(bar))._replace(adj_close=None) for bar in split(bars[:50], 2)]
    stored = store_history(base.History("AAPL", "alpha_vantage", traded), None, asked_from=bars[0].date, replace=True)
    assert (stored.written, stored.outdated_from) == (0, None)
    assert Stock.objects.get().is_outdated
    assert stored_days(aapl) == [bar.date for bar in bars]
