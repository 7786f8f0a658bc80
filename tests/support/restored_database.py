"""Empties the database after a transactional test, and puts back the rows that the migrations leave.

Django's `flush` sends `post_migrate` after each such test, which writes the same permissions and schedules again: it
takes a third of a second, longer than most of these tests.
"""

from typing import Any

from django.db import connection, transaction
from django.test import TransactionTestCase
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

Rows = list[tuple[Any, ...]]

_left_by_migrations: dict[str, Rows] = {}


def remember() -> None:
    """Remember the rows of the new test database. Later tests end with these rows."""
    tables = _tables()
    _left_by_migrations.clear()
    _left_by_migrations.update({table: rows for table in tables if (rows := _rows(table))})
    TransactionTestCase._fixture_teardown = lambda _test: restore()  # type: ignore[attr-defined]


def restore() -> None:
    """Remove all rows but the remembered ones. Schedules count from now, as in a new database: none is due yet."""
    with transaction.atomic():
        _empty([table for table in _filled(_tables()) if table not in _left_by_migrations])
        changed = [table for table, rows in _left_by_migrations.items() if _rows(table) != rows]
        with connection.cursor() as cursor:
            for table in changed:
                cursor.execute(f"DELETE FROM {_quoted(table)}")
            for table in changed:
                rows = _left_by_migrations[table]
                values = ", ".join(["%s"] * len(rows[0]))
                cursor.executemany(f"INSERT INTO {_quoted(table)} VALUES ({values})", rows)
        PeriodicTask.objects.update(date_changed=timezone.now())


def _tables() -> list[str]:
    """The tables of all models; the record of applied migrations is none of them."""
    return connection.introspection.django_table_names(only_existing=True, include_views=False)


def _filled(tables: list[str]) -> list[str]:
    """The tables with rows."""
    asked = (f"SELECT '{table}' WHERE EXISTS (SELECT 1 FROM {_quoted(table)})" for table in tables)
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(asked))
        return [table for (table,) in cursor.fetchall()]


def _empty(tables: list[str]) -> None:
    if not tables:
        return
    names = ", ".join(map(_quoted, tables))
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":  # a DELETE would leave dead rows, which no vacuum removes
            cursor.execute(f"TRUNCATE {names} CASCADE")
            return
        for table in tables:
            cursor.execute(f"DELETE FROM {_quoted(table)}")


def _rows(table: str) -> Rows:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {_quoted(table)} ORDER BY 1")
        return list(cursor.fetchall())


def _quoted(name: str) -> str:
    return connection.ops.quote_name(name)
