"""Handwritten SQL about jobs, in a module for each kind of database."""

from django.db import connection

from tasks.sql.base import JobSql
from tasks.sql.postgresql import PostgresqlJobSql
from tasks.sql.sqlite import SqliteJobSql

_BY_VENDOR: dict[str, JobSql] = {"postgresql": PostgresqlJobSql(), "sqlite": SqliteJobSql()}


def job_sql() -> JobSql:
    """The statements for the database of this process."""
    return _BY_VENDOR[connection.vendor]
