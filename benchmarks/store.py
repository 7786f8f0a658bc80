"""Bars a second that fetches store, new and unchanged, against SQL written by hand in the same run.

500 stocks with 500 bars each. Ours is `store_history`, as fetch jobs call it: a transaction a stock, and all that is
kept of a stock. The others write nothing but bars, in one transaction for all stocks; like ours, they leave bars alone
that are the same.
"""

import os
import random
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

# Without DEBUG, which makes Django keep every statement in memory.
os.environ |= {"DJANGO_DEBUG": "0", "DJANGO_SECRET_KEY": "benchmark " * 6, "DJANGO_ALLOWED_HOSTS": "127.0.0.1"}

import django

django.setup()

from django.core.management import call_command
from django.db import connection, transaction

from benchmarks.options import Options
from benchmarks.report import Spread, publish
from market.models import PriceBar, Stock
from market.prices.store import store_history
from market.sources.base import Bar, History

Histories = dict[int, History]
"""What is stored, by the stock's primary key."""

LAST_DAY = date(2026, 11, 20)
VALUES = Bar._fields[1:]
COLUMNS = ("stock_id", *Bar._fields)
TABLE = PriceBar._meta.db_table
INSERT = f"INSERT INTO {TABLE} ({', '.join(COLUMNS)})"
DIFFERENT = {"postgresql": "IS DISTINCT FROM", "sqlite": "IS NOT"}[connection.vendor]
UPSERT = (
    f"ON CONFLICT (stock_id, date) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in VALUES)} "
    f"WHERE ({', '.join(f'{TABLE}.{name}' for name in VALUES)}) "
    f"{DIFFERENT} ({', '.join(f'excluded.{name}' for name in VALUES)})"
)


def main() -> None:
    options = Options("store", __doc__)
    options.add_size("runs", "repetitions", 5, smallest=1)
    options.add_size("stocks", "stocks", 500, smallest=2)
    options.add_size("bars", "bars of each", 500, smallest=10)
    arguments = options.parse()
    call_command("migrate", verbosity=0)
    histories = make_histories(arguments.stocks, arguments.bars)
    compare(histories, arguments.stocks * arguments.bars, arguments.runs)


def make_histories(stocks: int, bars: int) -> Histories:
    """Histories that end on the same day, of stocks that are known but have no bars; the same every time."""
    chance = random.Random(7)
    days = [LAST_DAY - timedelta(days=back) for back in range(2 * bars)]
    trading = sorted([day for day in days if day.weekday() < 5][:bars])
    made = Stock.objects.bulk_create(Stock(symbol=f"ST{number}") for number in range(stocks))
    return {
        stock.pk: History(stock.symbol, "yahoo_finance", [make_bar(chance, day) for day in trading], stock.symbol)
        for stock in made
    }


def make_bar(chance: random.Random, day: date) -> Bar:
    close = 100 * chance.lognormvariate(0, 0.3)  # with as many digits as what Yahoo sends
    return Bar(day, close * 0.99, close * 1.02, close * 0.98, close, close * 0.95, chance.randrange(10**8))


def compare(histories: Histories, count: int, runs: int) -> None:
    """One table: the rate of each way, new and unchanged, and our ratio to the best of the others in each run."""
    ways = {"ours": store_ours, **OTHERS[connection.vendor]}
    figures: dict[str, list[float]] = {}
    for run in range(runs + 1):
        rates: dict[tuple[str, str], float] = {}
        names = list(ways)
        for way in [*names[run % len(names) :], *names[: run % len(names)]]:
            forget_bars()
            for state in ("new", "unchanged"):
                before = bars_written(0)
                began = time.perf_counter()
                ways[way](histories)
                rates[state, way] = count / (time.perf_counter() - began)
                if (way, state) == ("ours", "unchanged"):
                    assert bars_written(len(histories)) == before, "bars were written that had not changed"
            assert PriceBar.objects.count() == count
        if run == 0:  # everything is slower the first time
            continue
        for (state, way), rate in rates.items():
            figures.setdefault(f"{state}: {way}, bars/s", []).append(rate)
        for state in ("new", "unchanged"):
            best = max(rates[state, way] for way in OTHERS[connection.vendor])
            figures.setdefault(f"{state}: ours against the best", []).append(rates[state, "ours"] / best)
        figures.setdefault("ours: unchanged against new", []).append(rates["unchanged", "ours"] / rates["new", "ours"])
    publish(
        f"store-{connection.vendor}",
        f"{len(histories)} stocks with {count // len(histories)} bars each ({connection.vendor})",
        "bars a second, and ratios",
        {name: Spread.of(values) for name, values in sorted(figures.items())},
    )


def store_ours(histories: Histories) -> None:
    for history in histories.values():
        store_history(history, datetime.now(tz=UTC))


def copy(histories: Histories) -> None:
    """COPY into a staging table, and one INSERT from there."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"CREATE TEMP TABLE staging ON COMMIT DROP AS SELECT {', '.join(COLUMNS)} FROM {TABLE} LIMIT 0")
        with cursor.copy(f"COPY staging ({', '.join(COLUMNS)}) FROM STDIN") as out:
            for stock_id, history in histories.items():
                for bar in history.bars:
                    out.write_row((stock_id, *bar))
        cursor.execute(f"{INSERT} SELECT * FROM staging {UPSERT}")


def insert_many_rows(histories: Histories) -> None:
    """An INSERT of all bars of a stock."""
    row = f"({', '.join(['%s'] * len(COLUMNS))})"
    with transaction.atomic(), connection.cursor() as cursor:
        for stock_id, history in histories.items():
            values = [value for bar in history.bars for value in (stock_id, *bar)]
            cursor.execute(f"{INSERT} VALUES {', '.join([row] * len(history.bars))} {UPSERT}", values)


def execute_many(histories: Histories) -> None:
    """`executemany` of the INSERT of one bar."""
    with transaction.atomic(), connection.cursor() as cursor:
        for stock_id, history in histories.items():
            rows = [(stock_id, str(bar.date), *bar[1:]) for bar in history.bars]
            cursor.executemany(f"{INSERT} VALUES ({', '.join(['%s'] * len(COLUMNS))}) {UPSERT}", rows)


OTHERS: dict[str, dict[str, Callable[[Histories], None]]] = {
    "postgresql": {"COPY": copy, "INSERT of many rows": insert_many_rows},
    "sqlite": {"executemany": execute_many},
}


def bars_written(stocks_written: int) -> object:
    """What is different once any bar has been written or locked. SQLite counts the rows of stocks as well."""
    if connection.vendor == "sqlite":
        return connection.connection.total_changes - stocks_written
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT md5(string_agg(concat_ws(' ', ctid, xmin, xmax), ',' ORDER BY id)) FROM {TABLE}")
        return cursor.fetchone()


def forget_bars() -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(f"TRUNCATE {TABLE}")
        else:
            cursor.execute(f"DELETE FROM {TABLE}")


if __name__ == "__main__":
    main()
