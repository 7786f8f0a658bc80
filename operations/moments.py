"""Moments of thousands of rows as numbers: Django takes 5 us to make each datetime that PostgreSQL sends."""

from typing import Any

from django.db.models import FloatField, Func


class Unix(Func):
    """A moment as Unix time; to the microsecond on PostgreSQL, to the millisecond on SQLite."""

    output_field = FloatField()
    template = "EXTRACT(EPOCH FROM %(expressions)s)::float8"

    def get_db_converters(self, connection: Any) -> list[Any]:
        return []  # both databases send a float; Django would have each of them made one again

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(
            compiler, connection, template="(julianday(%(expressions)s) - 2440587.5) * 86400.0", **context
        )
