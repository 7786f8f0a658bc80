"""Settings of PostgreSQL for many statistics at once."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction


@contextmanager
def plain_plans() -> Iterator[None]:
    """Turn off PostgreSQL's parallel workers and JIT, on which short statements spent most of their time."""
    if connection.vendor != "postgresql":
        yield
        return
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL jit = off")
        yield
