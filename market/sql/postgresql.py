"""Statements about stocks and bars for PostgreSQL: one for all rows."""

import json
from collections.abc import Iterable, Sequence

from django.db import connection

from market.models import Stock
from market.prices.suspicion import Close
from market.sql.base import BARS, STOCKS, WRITTEN_COLUMNS, BarRow, MarketSql, closes_of, stock_rows, upsert_bars

_PRICES = ", ".join(["%s::double precision[]"] * 5)
_UPSERT_BARS = upsert_bars(f"SELECT * FROM unnest(%s::bigint[], %s::date[], {_PRICES}, %s::bigint[])")  # noqa: S608
_UPDATE_STOCKS = (
    f"UPDATE {STOCKS} SET {', '.join(f'{column} = new.{column}' for column in WRITTEN_COLUMNS)} "  # noqa: S608
    f"FROM json_populate_recordset(NULL::{STOCKS}, %s) AS new WHERE {STOCKS}.id = new.id"
)

# With a part of a UNION for each stock, the database would plan for longer than it reads.
_NEWEST_CLOSES = (
    "SELECT stock.id, newest.date, newest.close FROM unnest(%s::bigint[]) AS stock (id) CROSS JOIN LATERAL "  # noqa: S608
    f"(SELECT close, date FROM {BARS} WHERE stock_id = stock.id ORDER BY date DESC LIMIT %s) AS newest "
    "ORDER BY stock.id, newest.date DESC"
)


class PostgresqlMarketSql(MarketSql):
    def upsert_bars(self, rows: Sequence[BarRow]) -> None:
        with connection.cursor() as cursor:
            cursor.execute(_UPSERT_BARS, [*map(_array, zip(*rows, strict=True))])

    def update_stocks(self, stocks: Sequence[Stock]) -> None:
        columns = [*WRITTEN_COLUMNS, "id"]
        new = json.dumps([dict(zip(columns, row, strict=True)) for row in stock_rows(stocks)], default=str)
        with connection.cursor() as cursor:
            cursor.execute(_UPDATE_STOCKS, [new])

    def newest_closes(self, stock_ids: Sequence[int], count: int) -> dict[int, list[Close]]:
        with connection.cursor() as cursor:
            cursor.execute(_NEWEST_CLOSES, [list(stock_ids), count])
            return closes_of(stock_ids, cursor.fetchall())


def _array(values: Iterable[object]) -> str:
    """A literal of PostgreSQL: psycopg would inspect every value."""
    return f"{{{','.join('NULL' if value is None else str(value) for value in values)}}}"
