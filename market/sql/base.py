"""The statements about stocks and bars that each kind of database implements, and the parts that both share.

Handwritten, because Django takes longer to build these statements than the database takes to execute them:
`bulk_create` quotes each value, and `bulk_update` has a CASE for each value.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from functools import cache
from typing import Any

from django.db import connection

from market.models import PriceBar, SourceState, SourceUse, Stock
from market.prices.suspicion import Close
from market.sources.base import Bar

STOCKS, BARS = Stock._meta.db_table, PriceBar._meta.db_table
STATES, USES = SourceState._meta.db_table, SourceUse._meta.db_table

BarRow = tuple[Any, ...]
"""The id of a stock, and the values of a `Bar`."""

_WRITTEN_BY_FETCHES = {
    *("name", "exchange", "currency", "source", "checked_at", "volatility", "status", "misses", "missed_on"),
    *("history_starts", "is_outdated", "bars_changed_at", "charted_at", "needs_settling", "last_bar_on", "renamed_to"),
}
_WRITTEN = [field for field in Stock._meta.concrete_fields if field.name in _WRITTEN_BY_FETCHES]
WRITTEN_COLUMNS = [field.column for field in _WRITTEN]


class MarketSql(ABC):
    """Statements about stocks and bars for a kind of database."""

    @abstractmethod
    def upsert_bars(self, rows: Sequence[BarRow]) -> None:
        """Insert bars, or overwrite the bars of the same stock and day."""

    @abstractmethod
    def update_stocks(self, stocks: Sequence[Stock]) -> None:
        """Write the fields of stocks that a fetch may change."""

    def usages(self, sources: Sequence[str], now: datetime, since: datetime) -> list[tuple[str, datetime | None, int]]:
        """The pauses and the use of sources: each row has a source with the end of its pause, or with its requests."""
        adapt = connection.ops.adapt_datetimefield_value
        with connection.cursor() as cursor:
            cursor.execute(_usages(len(sources)), [*sources, adapt(now), *sources, adapt(since)])
            return [(source, _moment(until), requests) for source, until, requests in cursor.fetchall()]

    @abstractmethod
    def newest_closes(self, stock_ids: Sequence[int], count: int) -> dict[int, list[Close]]:
        """The last `count` closes of each stock, oldest first. One statement, which reads no other bars."""


@cache
def _usages(sources: int) -> str:
    among = f"source IN ({', '.join(['%s'] * sources)})"
    return (
        f"SELECT source, cooldown_until, 0 FROM {STATES} WHERE {among} AND cooldown_until > %s "  # noqa: S608
        f"UNION ALL SELECT source, NULL, SUM(requests) FROM {USES} WHERE {among} AND granted_at > %s GROUP BY source"
    )


def _moment(value: datetime | str | None) -> datetime | None:
    """A time of the database: SQLite has no time zones, and keeps UTC; a time in a UNION can be text."""
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)


def upsert_bars(rows: str) -> str:
    """An upsert of bars. `rows` is a query or VALUES with the columns of a `BarRow`."""
    changes = ", ".join(f"{name} = EXCLUDED.{name}" for name in Bar._fields[1:])
    return (
        f"INSERT INTO {BARS} (stock_id, {', '.join(Bar._fields)}) {rows} "
        f"ON CONFLICT (stock_id, date) DO UPDATE SET {changes}"
    )


def closes_of(stock_ids: Sequence[int], newest_first: Iterable[tuple[int, date, float]]) -> dict[int, list[Close]]:
    """The closes of each stock, oldest first."""
    closes: dict[int, list[Close]] = {pk: [] for pk in stock_ids}
    for pk, day, price in newest_first:
        closes[pk].append(Close(day, price))
    return {pk: found[::-1] for pk, found in closes.items()}


def stock_rows(stocks: Iterable[Stock]) -> list[list[Any]]:
    """The values of the `WRITTEN_COLUMNS` of each stock, and its id."""
    return [
        [*(field.get_db_prep_save(getattr(stock, field.attname), connection) for field in _WRITTEN), stock.pk]
        for stock in stocks
    ]
