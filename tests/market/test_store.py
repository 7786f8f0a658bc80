"""What a source answered becomes rows: only those that are new or different."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from market.freshness import Freshness
from market.models import PriceBar, Stock
from market.prices.store import note_miss, store_histories, store_history, upsert_bars
from market.sources.base import Bar, History

pytestmark = pytest.mark.django_db

MONDAY = date(2026, 3, 2)
CHECKED = datetime(2026, 3, 9, 12, 30, tzinfo=UTC)
NOT_A_NUMBER = [float("nan"), float("inf"), float("-inf")]


@pytest.fixture
def stock() -> Stock:
    return Stock.objects.create(symbol="AAPL")


def bar(day: int, **changes: Any) -> Bar:
    """A bar on the `day`-th day from a Monday."""
    values = {"open": 100.1, "high": 101.7, "low": 99.3, "close": 100.9 + day, "adj_close": 99.891, "volume": 10**10}
    return Bar(MONDAY + timedelta(days=day), **(values | changes))


def history(*bars: Bar, **told: Any) -> History:
    return History("AAPL", "yahoo_finance", bars, **told)


def stored_bars(stock: Stock) -> list[Bar]:
    rows = stock.bars.order_by("date").values_list(*Bar._fields)
    return [Bar(*row) for row in rows]


def writes_to_bars(queries: CaptureQueriesContext) -> list[str]:
    table = PriceBar._meta.db_table
    statements = [query["sql"] for query in queries.captured_queries]
    return [sql for sql in statements if table in sql and any(word in sql for word in ("INSERT", "UPDATE", "DELETE"))]


def test_new_bars_are_written_with_all_their_values(stock):
    bars = [bar(0), bar(1), bar(2, open=None, high=None, low=None, adj_close=None, volume=None)]

    stored = store_history(history(*bars), CHECKED)

    assert stored_bars(stock) == bars
    assert (stored.received, stored.written) == (3, 3)


def test_the_same_bars_again_write_none(stock):
    bars = [bar(day) for day in range(5)]
    store_history(history(*bars), CHECKED)

    with CaptureQueriesContext(connection) as queries:
        stored = store_history(history(*bars), CHECKED + timedelta(hours=1))

    assert writes_to_bars(queries) == []
    assert (stored.received, stored.written) == (5, 0)
    assert stored_bars(stock) == bars


def test_the_same_bars_again_read_the_stock_its_bars_and_decisions_and_note_the_check(stock):
    bars = [bar(day) for day in range(5)]
    store_history(history(*bars), CHECKED)

    with CaptureQueriesContext(connection) as queries:
        store_history(history(*bars), CHECKED + timedelta(hours=1))

    statements = [query["sql"].removeprefix("1 times: ").split()[0] for query in queries.captured_queries]
    expected = ["SELECT", "SELECT", "SELECT", "UPDATE"]  # the third are decisions about bars
    assert [word for word in statements if word not in ("SAVEPOINT", "RELEASE")] == expected


@pytest.mark.parametrize("price", [0.1 + 0.2, 187.44000244140625, 1e-7, 5e-324, -37.63, 123456789012345.67], ids=repr)
def test_prices_are_stored_to_the_last_digit(stock, price):
    bars = [bar(0, open=price, high=price, low=price, close=price, adj_close=price)]
    upsert_bars(stock, bars)

    assert stored_bars(stock) == bars
    assert upsert_bars(stock, bars) == 0


def test_a_value_that_is_missing_again_writes_nothing(stock):
    bars = [bar(0, volume=None, adj_close=None)]
    upsert_bars(stock, bars)

    assert upsert_bars(stock, bars) == 0


@pytest.mark.parametrize(
    "change",
    [
        *({"open": 1.5}, {"high": 1e6}, {"low": 0.01}, {"close": 100.90001}, {"adj_close": 98.0}, {"volume": 7}),
        *({"open": None}, {"adj_close": None}, {"volume": None}),
    ],
    ids=str,
)
def test_one_bar_that_changed_is_the_only_one_written(stock, change):
    upsert_bars(stock, [bar(day) for day in range(5)])
    untouched = set(stock.bars.exclude(date=bar(3).date).values_list("pk", *Bar._fields))
    changed = [bar(0), bar(1), bar(2), bar(3, **change), bar(4)]

    stored = store_history(history(*changed), CHECKED)

    assert (stored.received, stored.written) == (5, 1)
    assert stored_bars(stock) == changed
    assert set(stock.bars.exclude(date=bar(3).date).values_list("pk", *Bar._fields)) == untouched


def test_many_bars_take_one_statement(stock):
    with CaptureQueriesContext(connection) as queries:
        upsert_bars(stock, [bar(day, close=1.0) for day in range(10_000)])

    assert len(writes_to_bars(queries)) == 1
    assert stock.bars.count() == 10_000


def test_bars_that_the_answer_leaves_out_stay(stock):
    upsert_bars(stock, [bar(day) for day in range(5)])

    upsert_bars(stock, [bar(3), bar(5)])

    assert stored_bars(stock) == [bar(day) for day in range(6)]


def test_the_bars_of_other_stocks_stay(stock):
    other = Stock.objects.create(symbol="MSFT")
    upsert_bars(other, [bar(0)])

    upsert_bars(stock, [bar(0, close=7.0), bar(1)])

    assert stored_bars(other) == [bar(0)]
    assert stored_bars(stock) == [bar(0, close=7.0), bar(1)]


def test_no_bars_write_nothing(stock):
    assert upsert_bars(stock, []) == 0
    assert not stock.bars.exists()


def test_what_the_source_tells_of_the_stock_is_kept(stock):
    store_history(history(bar(0), name="Apple Inc.", exchange="NMS", currency="USD"), CHECKED)

    stock.refresh_from_db()
    assert (stock.name, stock.exchange, stock.currency) == ("Apple Inc.", "NMS", "USD")
    assert (stock.source, stock.checked_at, stock.status) == ("yahoo_finance", CHECKED, "active")


def test_what_the_source_does_not_tell_stays(stock):
    store_history(history(bar(0), name="Apple Inc.", exchange="NMS", currency="USD"), CHECKED)
    later = CHECKED + timedelta(days=1)

    store_history(History("AAPL", "sample", [bar(1)]), later)

    stock.refresh_from_db()
    assert (stock.name, stock.exchange, stock.currency) == ("Apple Inc.", "NMS", "USD")
    assert (stock.source, stock.checked_at) == ("sample", later)


def test_prices_as_traded_add_bars_and_replace_no_adjusted_ones_but_the_newest(stock):
    adjusted = [bar(day) for day in range(3)]
    store_history(history(*adjusted), CHECKED)
    upsert_bars(stock, [bar(-1, adj_close=None)])
    traded = [bar(day, close=400.0, adj_close=None) for day in range(-2, 5)]

    stored = store_history(History("AAPL", "alpha_vantage", traded), CHECKED)

    assert stored_bars(stock) == [*traded[:2], *adjusted[:2], *traded[4:]]
    assert (stored.received, stored.written) == (7, 5)


def test_a_check_that_finds_nothing_new_is_a_check(stock):
    store_history(history(bar(0)), CHECKED)
    later = CHECKED + timedelta(hours=1)

    store_history(history(bar(0)), later)

    stock.refresh_from_db()
    assert stock.checked_at == later


def test_a_name_too_long_for_its_column_does_not_cost_the_prices(stock):
    store_history(history(bar(0), name="N" * 300, exchange="E" * 300, currency="C" * 300), CHECKED)

    stock.refresh_from_db()
    assert stored_bars(stock) == [bar(0)]
    assert (stock.name, stock.exchange, stock.currency) == ("N" * 199 + "…", "E" * 39 + "…", "C" * 7 + "…")


@pytest.mark.parametrize("garbage", ["\0", "\x1b", "\ud83d", "\u202e", "\r\n \t"], ids=ascii)
def test_what_no_database_stores_of_a_text_does_not_cost_the_prices(stock, garbage):
    told = {"name": f"{garbage}Apple{garbage} Inc.{garbage}", "exchange": f"NMS{garbage}", "currency": f"{garbage}USD"}
    store_history(history(bar(0), **told), CHECKED)

    stock.refresh_from_db()
    assert stored_bars(stock) == [bar(0)]
    assert (stock.name, stock.exchange, stock.currency) == ("Apple Inc.", "NMS", "USD")


def test_a_text_that_is_nothing_else_tells_nothing(stock):
    store_history(history(bar(0), name="Apple Inc."), CHECKED)
    store_history(history(bar(1), name="\0\ud800 \n"), CHECKED)

    stock.refresh_from_db()
    assert stock.name == "Apple Inc."


def test_the_latest_day_before_and_after_is_told(stock):
    first = store_history(history(bar(0), bar(1)), CHECKED)
    second = store_history(history(bar(1), bar(2)), CHECKED)
    older = store_history(history(bar(0)), CHECKED)
    after_a_gap = store_history(history(bar(9)), CHECKED)

    assert (first.latest_before, first.latest_after) == (None, bar(1).date)
    assert (second.latest_before, second.latest_after) == (bar(1).date, bar(2).date)
    assert (older.latest_before, older.latest_after) == (bar(2).date, bar(2).date)
    assert (after_a_gap.latest_before, after_a_gap.latest_after) == (bar(2).date, bar(9).date)


@pytest.mark.parametrize("close", NOT_A_NUMBER)
def test_a_close_that_is_no_number_cannot_be_stored(stock, close):
    with pytest.raises(IntegrityError), transaction.atomic():
        PriceBar.objects.create(stock=stock, date=MONDAY, close=close)
    with pytest.raises(IntegrityError), transaction.atomic():
        upsert_bars(stock, [bar(0), bar(1, close=close)])

    assert not PriceBar.objects.exists()


@pytest.mark.parametrize("close", NOT_A_NUMBER)
def test_a_close_cannot_become_no_number(stock, close):
    upsert_bars(stock, [bar(0)])

    with pytest.raises(IntegrityError), transaction.atomic():
        upsert_bars(stock, [bar(0, close=close)])
    with pytest.raises(IntegrityError), transaction.atomic():
        PriceBar.objects.update(close=close)

    assert stored_bars(stock) == [bar(0)]


def test_an_answer_that_cannot_be_stored_changes_nothing(stock):
    with pytest.raises(IntegrityError):
        store_history(history(bar(0), bar(1, close=float("nan")), name="Apple Inc."), CHECKED)

    stock.refresh_from_db()
    assert (stock.name, stock.checked_at, stock.bars.count()) == ("", None, 0)


def test_a_stock_has_one_bar_a_day(stock):
    PriceBar.objects.create(stock=stock, date=MONDAY, close=1.0)

    with pytest.raises(IntegrityError), transaction.atomic():
        PriceBar.objects.create(stock=stock, date=MONDAY, close=2.0)


# Several answers together


def others(count: int) -> list[Stock]:
    return Stock.objects.bulk_create(Stock(symbol=f"S{number}") for number in range(count))


def answers(stocks: list[Stock], *bars: Bar, source: str = "yahoo_finance") -> list[History]:
    return [History(stock.symbol, source, bars) for stock in stocks]


@pytest.mark.parametrize("state", ["new", "one bar newer", "unchanged", "a few days"])
def test_many_stocks_take_as_many_statements_as_one(stock, state):
    stocks = [stock, *others(9)]
    bars = [bar(day) for day in range(25)]
    if state != "new":
        store_histories(answers(stocks, *bars), CHECKED)
    told = {
        "new": bars[:3],
        "one bar newer": [*bars, bar(25)],
        "unchanged": bars,
        "a few days": [*bars[-1:], bar(25)],
    }[state]

    counts = []
    for group in (stocks[:1], stocks[1:]):
        with CaptureQueriesContext(connection) as queries:
            stored = store_histories(answers(group, *told), CHECKED)
        counts.append(len(queries))
        assert {one.written for one in stored} == {{"new": 3, "unchanged": 0}.get(state, 1)}

    assert counts[0] == counts[1]


def test_stocks_are_stored_together_as_they_are_one_by_one():
    def fetch_all(store: Any) -> list[Any]:
        Stock.objects.all().delete()
        known, new, traded, adjusted, short = others(5)
        store_history(answers([known], *[bar(day) for day in range(-30, 3)])[0], CHECKED)
        store_history(answers([traded], bar(0), bar(1))[0], CHECKED)
        store_history(answers([adjusted], *[bar(day) for day in range(-15, 9)])[0], CHECKED)
        store_history(answers([short], bar(-40), bar(0))[0], CHECKED)
        told = store(
            [
                *answers([known], *[bar(day) for day in range(9)]),
                *answers([new], *[bar(day) for day in range(22)]),
                *answers(
                    [traded], *[bar(day, close=50.0, adj_close=None) for day in range(3)], source="alpha_vantage"
                ),
                *answers([adjusted], *[bar(day, close=50.0) for day in range(9)]),
                *answers([short], bar(3), bar(4)),
            ],
            CHECKED + timedelta(days=1),
        )
        kept = Stock.objects.order_by("symbol").values("symbol", "source", "checked_at", "volatility", "is_outdated")
        bars = PriceBar.objects.order_by("stock__symbol", "date").values_list("stock__symbol", *Bar._fields)
        return [told, list(kept), list(bars)]

    together = fetch_all(store_histories)

    assert together == fetch_all(lambda histories, at: [store_history(one, at) for one in histories])
    told, kept, _bars = together
    assert [one.written for one in told] == [6, 22, 2, 9, 2]
    assert [one.outdated_from for one in told] == [None, None, None, bar(-15).date, bar(-40).date]
    assert [one["volatility"] is None for one in kept] == [False, False, True, False, True]


def test_a_range_is_replaced_for_each_stock_by_itself(stock):
    (other,) = others(1)
    for one in (stock, other):
        upsert_bars(one, [bar(day) for day in range(5)])

    stored = store_histories(
        [History("AAPL", "yahoo_finance", [bar(0), bar(4)]), History(other.symbol, "yahoo_finance", [bar(2), bar(3)])],
        None,
        asked_from=bar(0).date,
        replace=True,
    )

    assert [one.written for one in stored] == [3, 0]
    assert [day.date for day in stored_bars(stock)] == [bar(0).date, bar(4).date]
    assert stored_bars(other) == [bar(day) for day in range(5)]


def test_one_answer_that_cannot_be_stored_leaves_nothing_of_the_others(stock):
    stocks = [stock, *others(2)]
    told = [*answers(stocks[:2], bar(0)), *answers(stocks[2:], bar(0, close=float("nan")))]

    with pytest.raises(IntegrityError):
        store_histories(told, CHECKED)

    assert not PriceBar.objects.exists()
    assert not Stock.objects.exclude(checked_at=None).exists()


def test_an_answer_for_a_stock_that_was_removed_meanwhile_says_so(stock):
    told = answers([stock, *others(1)], bar(0))
    stock.delete()
    with pytest.raises(Stock.DoesNotExist, match="AAPL no longer exists"):
        store_histories(told, CHECKED)
    assert not PriceBar.objects.exists()


# What no source knows


def miss(*days: int) -> Stock:
    """The stock, after no source knew it on these days from CHECKED on."""
    for day in days:
        note_miss("AAPL", CHECKED + timedelta(days=day))
    return Stock.objects.get(symbol="AAPL")


def test_an_answer_without_bars_marks_that_stock_alone_as_checked(stock):
    other = Stock.objects.create(symbol="MSFT")
    assert miss(0).checked_at == CHECKED
    other.refresh_from_db()
    assert other.checked_at is None


def test_a_stock_is_parked_when_no_source_has_known_it_on_three_days(stock):
    assert miss(0, 0, 0, 0).status == "active"
    assert miss(1).status == "active"
    assert miss(4).status == "unknown"


def test_a_stock_that_was_known_once_is_parked_as_delisted(stock):
    store_history(history(bar(0)), CHECKED)
    assert miss(0, 1, 2).status == "delisted"


def test_a_parked_stock_is_not_stale_and_is_active_again_once_a_source_knows_it(stock):
    parked = miss(0, 1, 2)
    now = CHECKED + timedelta(days=30)
    assert not Freshness.of([parked], now).is_stale(parked)
    store_history(history(bar(0)), CHECKED + timedelta(days=3))
    assert Stock.objects.get(symbol="AAPL").status == "active"
    assert miss(31, 32).status == "active"  # it starts again with the first
