"""Handwritten SQL about stocks and bars, in a module for each kind of database."""

from django.db import connection

from market.sql.base import MarketSql
from market.sql.postgresql import PostgresqlMarketSql
from market.sql.sqlite import SqliteMarketSql

_BY_VENDOR: dict[str, MarketSql] = {"postgresql": PostgresqlMarketSql(), "sqlite": SqliteMarketSql()}


def market_sql() -> MarketSql:
    """The statements for the database of this process."""
    return _BY_VENDOR[connection.vendor]
