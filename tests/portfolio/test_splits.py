"""A split adjusts the holdings that were entered before its day, once."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, replace
from datetime import date, timedelta
from decimal import Decimal

import pytest
import time_machine
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from market import splits
from market.jobs.requests import request_fetches
from market.models import Stock, StockSplit
from market.prices.store import store_history
from market.sources.base import Bar, History, Split
from operations.local.child_processes import wait_until
from portfolio.models import Holding, HoldingSplit, Portfolio
from portfolio.splits import adjusting
from tasks.models import Job
from tasks.running.execute import run_job
from tests.conftest import WORKER
from tests.support.prices import keep
from tests.support.splits import (
    DAY,
    ENTERED,
    LATER,
    MIDNIGHT,
    answer,
    follow,
    numbers,
    shown,
    split,
    text_of,
    withdraw,
)
from tests.support.standins.yahoo import daily_bars

pytestmark = pytest.mark.django_db


# What a split does


@pytest.mark.parametrize(
    ("terms", "before", "after"),
    [
        ((4, 1), ("10", "400"), ("40", "100")),
        ((3, 2), ("10", "100"), ("15", "66.66666667")),
        ((1, 30), ("90", "1"), ("3", "30")),
        ((1, 30), ("10", "1.5"), ("0.33333333", "45")),
        ((1, 3), ("0.00000005", "1"), ("0.00000001", "3")),
        ((103, 100), ("10", "10.3"), ("10.3", "10")),
        ((4, 1), ("10", None), ("40", "unknown")),
        ((2, 1), ("10", "0"), ("20", "0")),
        ((2, 1), ("10", "0.00000001"), ("20", "0")),
    ],
)
def test_shares_and_price_are_adjusted_to_a_split(own, terms, before, after):
    own(*before)
    split(*terms)
    assert numbers() == after
    assert Holding.objects.get().as_of == MIDNIGHT


@pytest.mark.parametrize(
    ("terms", "before"),
    [((1, 30), ("0.00000005", "1")), ((10, 1), ("99999999999999", "1")), ((1, 10), ("10", "99999999999999"))],
    ids=["too few", "too many", "too dear"],
)
def test_numbers_that_could_not_be_stored_are_left_and_said_to_be(own, owner, terms, before):
    own(*before)
    split(*terms)
    assert numbers() == before
    told = text_of(owner)
    assert "were left as they are, because the number of shares or their price would be too small or too large" in told
    assert "Dismiss" in told
    assert "Undo" not in told


def test_a_split_of_years_ago_adjusts_no_holding_of_today(own):
    own(entered=LATER - timedelta(hours=1))
    split(day=date(2020, 8, 31))
    assert numbers() == ("10", "400")
    assert not HoldingSplit.objects.exists()


def test_a_holding_of_the_day_of_the_split_is_left_and_its_owner_is_asked(own, owner):
    own(entered=MIDNIGHT)
    split()
    assert numbers() == ("10", "400")
    told = text_of(owner)
    assert "AAPL split 4:1 on 2026-03-04, the day on which you entered 10 shares at $400.00 in Main." in told
    assert "Adjusted: you hold 40 AAPL now." in answer(owner, "adjust")
    assert numbers() == ("40", "100")
    assert "Undone: you hold 10 AAPL again" in answer(owner, "undo")
    follow()
    assert numbers() == ("10", "400")


@pytest.mark.parametrize(
    ("entered", "is_adjusted"),
    [(MIDNIGHT - timedelta(seconds=1), True), (MIDNIGHT, False), (MIDNIGHT + timedelta(days=1), False)],
    ids=str,
)
def test_the_day_of_a_split_is_the_exchanges(own, entered, is_adjusted):
    own(entered=entered)
    split()
    assert numbers()[0] == ("40" if is_adjusted else "10")


def test_an_announced_split_is_applied_on_its_day_and_not_before(own):
    own()
    split(at=MIDNIGHT - timedelta(seconds=1))
    assert numbers() == ("10", "400")
    follow(MIDNIGHT)
    assert numbers() == ("40", "100")


def test_a_split_is_applied_once(own):
    own()
    told = split()
    for _ in range(2):
        StockSplit.objects.update(followed_at=None)
        follow()
    assert numbers() == ("40", "100")
    assert HoldingSplit.objects.count() == 1
    assert told.holdings.get().state == "adjusted"


def test_two_splits_are_applied_in_their_order(own):
    own()
    StockSplit.objects.create(stock=Stock.objects.get(), date=DAY + timedelta(days=1), numerator=1, denominator=2)
    split()
    assert numbers() == ("20", "200")
    assert HoldingSplit.objects.count() == 2


def test_holdings_of_other_stocks_stay(own, user, hold):
    own()
    hold(user, "MSFT")
    Holding.objects.update(as_of=ENTERED)
    split()
    assert sorted(map(shown, Holding.objects.values_list("shares", flat=True))) == ["10", "40"]


def test_a_chart_with_a_split_adjusts_the_holding(user, hold, yahoo):
    hold(user, "AAPL")
    Holding.objects.update(as_of=timezone.now() - timedelta(days=20), buy_price=400)
    bars = daily_bars("AAPL", 25)
    keep(Stock.objects.get(), bars[:-1])
    yahoo.touched.append("AAPL")
    after = [replace(bar, close=bar.close / 4, adj_close=bar.adj_close / 4) for bar in bars]
    yahoo.server.serve("AAPL", after, splits={bars[-1].date: (4, 1)})
    (job,) = request_fetches([Stock.objects.get()], Job.Trigger.SCHEDULED_UPDATE).created
    run_job(job.pk, "worker")
    splits.follow_splits()
    assert numbers() == ("40", "100")


def test_many_holders_take_batches_of_few_queries(split_stock, monkeypatch):
    monkeypatch.setattr(adjusting, "BATCH", 50)
    users = User.objects.bulk_create(User(username=f"holder{number}") for number in range(120))
    portfolios = Portfolio.objects.bulk_create(Portfolio(user=user, name="Main") for user in users)
    Holding.objects.bulk_create(
        Holding(portfolio=portfolio, stock=split_stock, shares=10, buy_price=400, as_of=ENTERED)
        for portfolio in portfolios
    )
    with CaptureQueriesContext(connection) as queries:
        told = split()
    assert set(Holding.objects.values_list("shares", "buy_price")) == {(Decimal(40), Decimal(100))}
    # Three batches of: the split, the holdings, two writes; savepoints, the split's end, and a fetch for open pages.
    statements = [one["sql"] for one in queries.captured_queries if "SAVEPOINT" not in one["sql"]]
    assert len(statements) <= 1 + 3 * 5 + 8
    with CaptureQueriesContext(connection) as queries:
        withdraw(told)
    assert set(Holding.objects.values_list("shares", "buy_price")) == {(Decimal(10), Decimal(400))}
    assert len([one for one in queries.captured_queries if "SAVEPOINT" not in one["sql"]]) <= 1 + 3 * 8 + 8


@pytest.mark.django_db(transaction=True)
def test_processes_that_follow_a_split_at_once_adjust_each_holding_once(split_stock, monkeypatch):
    monkeypatch.setattr(adjusting, "BATCH", 10)
    users = User.objects.bulk_create(User(username=f"holder{number}") for number in range(60))
    portfolios = Portfolio.objects.bulk_create(Portfolio(user=user, name="Main") for user in users)
    Holding.objects.bulk_create(
        Holding(portfolio=portfolio, stock=split_stock, shares=10, buy_price=400, as_of=ENTERED)
        for portfolio in portfolios
    )
    StockSplit.objects.create(stock=split_stock, date=DAY, numerator=4, denominator=1)

    def follow_here(_number: int) -> None:
        splits.follow_splits()
        connection.close()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(follow_here, range(4)))
    splits.follow_splits()  # what a busy database has put off
    assert set(Holding.objects.values_list("shares", "buy_price")) == {(Decimal(40), Decimal(100))}
    assert HoldingSplit.objects.filter(state="adjusted").count() == 60
    assert splits.due_splits(timezone.now()) == []


# What a holding's numbers refer to


def test_an_edit_after_the_split_is_not_adjusted(own, owner):
    holding = own()
    with time_machine.travel(LATER, tick=False):
        owner.force_login(holding.portfolio.user)
        owner.post(f"/holdings/{holding.pk}/", {"shares": "41", "buy_price": "100"})
    assert Holding.objects.get().as_of == LATER
    split()
    assert numbers() == ("41", "100")


def test_saving_the_same_numbers_again_is_no_edit(own, owner):
    holding = own()
    owner.post(f"/holdings/{holding.pk}/", {"shares": "10", "buy_price": "400"})
    assert Holding.objects.get().as_of == ENTERED


def test_a_form_that_was_opened_before_the_split_asks_once_more(own, owner):
    holding = own()
    address = f"/holdings/{holding.pk}/"
    seen = owner.get(address).context["form"]["seen"].value()
    split()
    page = owner.post(address, {"shares": "12", "buy_price": "400", "seen": seen})
    assert "perhaps by a split: it is 40 AAPL at 100 now." in page.content.decode()
    assert 'value="12"' in page.content.decode()
    assert numbers() == ("40", "100")
    again = page.context["form"]["seen"].value()
    assert owner.post(address, {"shares": "12", "buy_price": "400", "seen": again}).status_code == 302
    assert numbers() == ("12", "400")


def test_an_edit_in_the_admin_counts_as_well(own, client, admin_user):
    holding = own()
    client.force_login(admin_user)
    form = {"portfolio": holding.portfolio_id, "stock": holding.stock_id, "shares": "12", "buy_price": "400"}
    assert client.post(f"/admin/portfolio/holding/{holding.pk}/change/", form).status_code == 302
    assert Holding.objects.get().as_of > ENTERED


def test_an_import_counts_for_the_holdings_that_it_changes(own, user, write, run):
    own()
    other = Stock.objects.create(symbol="MSFT")
    Holding.objects.create(portfolio=Portfolio.objects.get(), stock=other, shares=1, buy_price=1, as_of=ENTERED)
    run(write("symbol,shares,buy_price\nAAPL,12,400\nMSFT,1,1\nIBM,1,1\n"))
    known = dict(Holding.objects.values_list("stock__symbol", "as_of"))
    assert known["MSFT"] == ENTERED
    assert known["AAPL"] > ENTERED
    assert known["IBM"] > ENTERED


def test_loaded_data_is_of_the_day_on_which_it_is_loaded(settings):
    settings.DEBUG = True
    before = timezone.now()
    call_command("loaddata", "demo", verbosity=0)
    assert Holding.objects.order_by("as_of").values_list("as_of", flat=True)[0] >= before


@pytest.mark.django_db(transaction=True)
def test_a_worker_adjusts_the_holdings_as_soon_as_a_chart_has_told_the_split(own, broker, start):
    holding = own(entered=timezone.now() - timedelta(days=20))
    bars = [Bar(*astuple(bar)) for bar in daily_bars("AAPL", 5)]
    told = History("AAPL", "yahoo_finance", bars, exchange="NMS", splits=(Split(bars[-1].date, 4, 1),))
    with start(*WORKER, ready=" ready.", CELERY_BROKER_URL=broker.url):
        store_history(told, timezone.now())
        wait_until(lambda: HoldingSplit.objects.filter(holding=holding).exists(), "the adjustment", timeout=60)
    assert numbers() == ("40", "100")
