"""A repair run turns every stored history into the source's, and leaves right histories as they are."""

from collections.abc import Sequence
from dataclasses import astuple

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from market.jobs.repair import request_repairs
from market.models import PriceBar, Stock
from market.prices.store import store_history
from market.sources.base import Bar, History
from tasks.models import Job
from tasks.running.execute import run_job
from tests.support.faulty_histories import FAULTS, ODD, Bars
from tests.support.standins.yahoo import daily_bars
from tests.support.yahoo_histories import six_values

pytestmark = pytest.mark.django_db

ALL_VALUES = ("date", "open", "high", "low", "close", "adj_close", "volume")


def store(symbol: str, bars: Bars, currency: str) -> Stock:
    stock = Stock.objects.create(symbol=symbol)
    answer = History(symbol, "yahoo_finance", [Bar(*astuple(bar)) for bar in bars], exchange="CCC", currency=currency)
    store_history(answer, timezone.now())
    return stock


def stored(stock: Stock) -> list[tuple[object, ...]]:
    return list(stock.bars.order_by("date").values_list(*ALL_VALUES))


def repair(stocks: Sequence[Stock]) -> None:
    for job in request_repairs(stocks, Job.Trigger.MAINTENANCE).created:
        assert run_job(job.pk, "worker")


@pytest.mark.parametrize("currency", ["USD", "GBp"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_history_becomes_the_sources(yahoo, fault, currency):
    right = daily_bars("BAD", 120)
    yahoo.touched.append("BAD")
    yahoo.server.serve("BAD", right, currency=currency)
    stock = store("BAD", FAULTS[fault](right), currency)
    assert stored(stock) != six_values(right)
    repair([stock])
    assert stored(stock) == six_values(right)
    stock.refresh_from_db()
    assert not stock.is_outdated
    assert len(yahoo.asked_for()) == 1


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_history_that_is_right_stays_as_it_is(yahoo, odd):
    right = ODD[odd](daily_bars("ODD", 120))
    yahoo.touched.append("ODD")
    yahoo.server.serve("ODD", right)
    stock = store("ODD", right, "USD")
    before = list(PriceBar.objects.order_by("pk").values_list("pk", *ALL_VALUES))
    changed_at = Stock.objects.values_list("bars_changed_at", flat=True).get()
    repair([stock])
    assert list(PriceBar.objects.order_by("pk").values_list("pk", *ALL_VALUES)) == before
    assert Stock.objects.values_list("bars_changed_at", flat=True).get() == changed_at
    assert Job.objects.get().outcome == Job.Outcome.UNCHANGED


def test_the_command_asks_for_all_active_stocks_with_bars_or_for_the_named(capsys):
    for symbol in ("ONE", "TWO"):
        store(symbol, daily_bars(symbol, 30), "USD")
    Stock.objects.create(symbol="EMPTY")
    Stock.objects.filter(symbol="TWO").update(status="delisted")
    call_command("repair_prices")
    assert [job.symbol for job in Job.objects.all()] == ["ONE"]
    job = Job.objects.get()
    assert (job.trigger, job.parameters["mode"]) == ("maintenance", "replace")
    call_command("repair_prices", "TWO")
    assert set(Job.objects.values_list("symbol", flat=True)) == {"ONE", "TWO"}
    with pytest.raises(CommandError, match="no stock NEW; fetch_stock creates stocks"):
        call_command("repair_prices", "NEW")
