"""A chart's splits are stored once, corrected as the source corrects them, and followed by rooms from their day on."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import time_machine

from market import splits
from market.jobs.requests import request_fetches
from market.models import PriceBar, Stock, StockSplit
from market.prices.store import store_history
from market.sources.base import Bar, History, Split
from tasks.models import Job
from tasks.running.execute import run_job
from tests.support.prices import keep, serve
from tests.support.standins.yahoo import daily_bars

pytestmark = pytest.mark.django_db

FRIDAY = date(2026, 3, 6)
DAYS = [date(2026, 3, day) for day in (2, 3, 4, 5, 6)]
FOUR = Split(DAYS[2], 4, 1)
NOON = datetime(2026, 3, 6, 17, tzinfo=UTC)


def answer(*told: Split, **changes: Any) -> History:
    bars = [Bar(day, 100.0, 101.0, 99.0, 100.0, 100.0, 1_000) for day in DAYS]
    return replace(History("AAPL", "yahoo_finance", bars, exchange="NMS", splits=told), **changes)


def store(*told: Split, at: datetime = NOON, **changes: Any) -> Stock:
    """Store a chart with these splits."""
    Stock.objects.get_or_create(symbol="AAPL")
    with time_machine.travel(at, tick=False):
        store_history(answer(*told, **changes), at)
    return Stock.objects.get(symbol="AAPL")


def stored() -> list[Split]:
    """The splits that the source still tells."""
    rows = StockSplit.objects.filter(withdrawn_at=None).order_by("date", "numerator")
    return [Split(row.date, row.numerator, row.denominator) for row in rows]


@pytest.fixture
def followed(monkeypatch) -> list[str]:
    """The splits that a room was asked to follow, in order. It finds all of its rows in one batch."""
    seen: list[str] = []

    def follower(split: StockSplit) -> bool:
        seen.append(f"{'-' if split.withdrawn_at else ''}{split.ratio}")
        return False

    monkeypatch.setattr(splits, "_followers", [follower])
    monkeypatch.setattr(splits, "PAUSE_BETWEEN_BATCHES", 0)
    return seen


def follow(at: datetime = NOON) -> None:
    with time_machine.travel(at, tick=False):
        splits.follow_splits()


def test_a_fetch_stores_the_split_of_a_chart_with_its_adjusted_bars(aapl, yahoo):
    bars = daily_bars("AAPL", 25)
    keep(aapl, bars[:-1])
    day = bars[-1].date
    after = [replace(bar, close=bar.close / 4, adj_close=bar.adj_close / 4) for bar in bars]
    yahoo.touched.append("AAPL")
    yahoo.server.serve("AAPL", after, splits={day: (4, 1)})
    (job,) = request_fetches([aapl], Job.Trigger.SCHEDULED_UPDATE).created
    run_job(job.pk, "worker")
    assert stored() == [Split(day, 4, 1)]
    assert PriceBar.objects.get(date=bars[-2].date).close == bars[-2].close / 4


def test_a_fetch_without_a_split_stores_none(aapl, yahoo):
    serve(yahoo, daily_bars("AAPL", 25))
    (job,) = request_fetches([aapl], Job.Trigger.SCHEDULED_UPDATE).created
    run_job(job.pk, "worker")
    assert stored() == []


def test_the_same_chart_again_changes_nothing(followed, django_assert_num_queries):
    store(FOUR)
    follow()
    before = StockSplit.objects.values().get()
    store(FOUR)
    follow()
    assert StockSplit.objects.values().get() == before
    assert followed == ["4:1"]


def test_a_source_that_tells_no_splits_withdraws_none(followed):
    store(FOUR)
    for days in (1, 3):
        store(at=NOON + timedelta(days=days), splits=None, source="alpha_vantage")
    assert stored() == [FOUR]


def test_a_split_that_two_charts_lack_is_withdrawn(followed):
    store(FOUR)
    follow()
    assert store(at=NOON + timedelta(hours=5)).needs_settling  # the source may have left it out once
    assert stored() == [FOUR]
    store(at=NOON + timedelta(hours=26))
    assert stored() == []
    follow()
    assert followed == ["4:1", "-4:1"]


def test_a_split_that_is_back_was_never_missing(followed):
    store(FOUR)
    store(at=NOON + timedelta(hours=5))
    store(FOUR, at=NOON + timedelta(hours=10))
    store(at=NOON + timedelta(hours=26))
    assert stored() == [FOUR]


def test_a_withdrawn_split_that_is_told_again_is_followed_again(followed):
    store(FOUR)
    follow()
    store(at=NOON + timedelta(hours=5))
    store(at=NOON + timedelta(hours=26))
    follow()
    store(FOUR, at=NOON + timedelta(hours=50))
    follow()
    assert followed == ["4:1", "-4:1", "4:1"]


@pytest.mark.parametrize("other", [Split(DAYS[2], 5, 1), Split(DAYS[3], 4, 1)], ids=["ratio", "day"])
def test_a_corrected_split_stands_for_the_first_at_once_and_the_first_is_taken_back_before(followed, other):
    store(FOUR)
    follow()
    store(other)
    assert stored() == [other]
    follow()
    assert followed == ["4:1", "-4:1", f"{other.numerator}:1"]


def test_two_splits_of_which_a_chart_lacks_one_are_no_correction(followed):
    second = Split(DAYS[4], 2, 1)
    store(FOUR, second)
    store(second)
    assert stored() == [FOUR, second]


def test_a_chart_of_other_days_says_nothing_about_a_split():
    store(FOUR)
    later = [Bar(day, 100.0, 101.0, 99.0, 100.0, 100.0, 1_000) for day in DAYS[3:]]
    for days in (1, 3):
        store(at=NOON + timedelta(days=days), bars=later)
    assert stored() == [FOUR]


def test_an_announced_split_is_followed_from_the_first_moment_of_its_day_at_the_exchange(followed):
    store(Split(date(2026, 3, 10), 4, 1))
    for moment, seen in (
        (datetime(2026, 3, 10, 3, 59, 59, tzinfo=UTC), []),
        (datetime(2026, 3, 10, 4, 0, tzinfo=UTC), ["4:1"]),  # midnight in New York
    ):
        follow(moment)
        assert followed == seen


def test_an_announced_split_that_is_called_off_is_never_followed(followed):
    announced = Split(date(2026, 3, 20), 4, 1)
    store(announced)
    for days in (1, 2):
        store(at=NOON + timedelta(days=days))
    assert stored() == []
    follow(NOON + timedelta(days=30))
    assert followed == ["-4:1"]  # which finds nothing


def test_splits_of_a_stock_are_followed_in_the_order_of_their_days(followed):
    store(Split(DAYS[4], 2, 1), FOUR, Split(DAYS[1], 1, 30))
    follow()
    assert followed == ["1:30", "4:1", "2:1"]


def test_a_room_is_called_until_it_has_nothing_left(followed, monkeypatch):
    left = [True, True, False]
    monkeypatch.setattr(splits, "_followers", [lambda split: left.pop(0)])
    store(FOUR)
    follow()
    assert left == []
    assert StockSplit.objects.get().followed_at == NOON


def test_a_room_that_fails_keeps_no_other_split_from_its_turn(followed, monkeypatch, caplog):
    def failing(split: StockSplit) -> bool:
        if split.stock.symbol == "AAPL":
            raise ZeroDivisionError
        return False

    other = StockSplit.objects.create(
        stock=Stock.objects.create(symbol="MSFT"), date=FRIDAY, numerator=2, denominator=1
    )
    apple = store(FOUR)
    monkeypatch.setattr(splits, "_followers", [failing])
    follow()
    assert "AAPL 4:1 2026-03-04 could not be followed" in caplog.text
    assert list(StockSplit.objects.exclude(followed_at=None)) == [other]
    assert list(splits.due_splits(NOON)) == list(apple.splits.all())  # and tried again


@pytest.mark.django_db(transaction=True)
def test_a_new_split_is_handed_to_a_worker_and_by_the_sweeper_again_until_it_is_followed(monkeypatch, followed):
    sent: list[str] = []

    def publish(task: str, *_: object, **_options: object) -> bool:
        sent.append(task)
        return True

    monkeypatch.setattr("tasks.delivery.broker.publish_task", publish)
    store(FOUR)
    assert sent == ["stockqueue.follow_splits"]
    splits.go_on()
    assert len(sent) == 2
    follow()
    splits.go_on()
    store(FOUR)
    assert len(sent) == 2


@pytest.mark.django_db(transaction=True)
def test_without_a_broker_this_process_follows_the_split(followed, direct_processing):
    from tasks.delivery import direct

    store(FOUR)
    assert direct.wait_until_idle(30)
    assert followed == ["4:1"]


def test_a_jump_that_no_split_explains_is_a_reason_to_fetch_the_next_chart_as_well():
    def bars(*closes: float) -> list[Bar]:
        return [Bar(day, price, price, price, price, price, 1) for day, price in zip(DAYS, closes, strict=False)]

    assert not store(bars=bars(100.0, 100.0)).needs_settling
    assert store(bars=bars(100.0, 100.0, 25.0)).needs_settling
    assert not store(bars=bars(100.0, 100.0, 25.0, 25.0)).needs_settling
