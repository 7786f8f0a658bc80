"""Statements about stocks and bars for SQLite: one for each row."""

from collections.abc import Sequence

from django.db import connection, transaction

from market.models import Stock
from market.prices.suspicion import Close
from market.sources.base import Bar
from market.sql.base import BARS, STOCKS, WRITTEN_COLUMNS, BarRow, MarketSql, closes_of, stock_rows, upsert_bars

_UPSERT_BAR = upsert_bars(f"VALUES ({', '.join(['%s'] * (1 + len(Bar._fields)))})")
_UPDATE_STOCK = f"UPDATE {STOCKS} SET {', '.join(f'{column} = %s' for column in WRITTEN_COLUMNS)} WHERE id = %s"  # noqa: S608

_NEWEST_CLOSES = (
    "SELECT * FROM "  # noqa: S608
    f"(SELECT stock_id, date, close FROM {BARS} WHERE stock_id = %s ORDER BY date DESC LIMIT %s) AS newest"
)


class SqliteMarketSql(MarketSql):
    def upsert_bars(self, rows: Sequence[BarRow]) -> None:
        with transaction.atomic(savepoint=False), connection.cursor() as cursor:
            cursor.executemany(_UPSERT_BAR, [(pk, str(day), *values) for pk, day, *values in rows])

    def update_stocks(self, stocks: Sequence[Stock]) -> None:
        with transaction.atomic(savepoint=False), connection.cursor() as cursor:
            cursor.executemany(_UPDATE_STOCK, stock_rows(stocks))

    def newest_closes(self, stock_ids: Sequence[int], count: int) -> dict[int, list[Close]]:
        parameters = [value for pk in stock_ids for value in (pk, count)]
        with connection.cursor() as cursor:
            cursor.execute(" UNION ALL ".join([_NEWEST_CLOSES] * len(stock_ids)), parameters)
            return closes_of(stock_ids, cursor.fetchall())
