"""Compares figures of pages with SQL of its own, and with the lists that they lead to."""

from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import connection

from console.dashboard.links import Figure
from tests.support.lists import rows_of


def rows(query: str, *parameters: Any) -> list[tuple[Any, ...]]:
    adapted = [
        connection.ops.adapt_datetimefield_value(one) if isinstance(one, datetime) else one for one in parameters
    ]
    with connection.cursor() as cursor:
        cursor.execute(query, adapted)
        return list(cursor.fetchall())


def one(query: str, *parameters: Any) -> Any:
    ((value,),) = rows(query, *parameters)
    return value


def since(moment: Any, now: datetime) -> timedelta:
    """SQLite gives a moment as text, or without its time zone."""
    return now - datetime.fromisoformat(str(moment)).replace(tzinfo=UTC)


def seconds_between(begin: str, end: str) -> str:
    if connection.vendor == "postgresql":
        return f"EXTRACT(EPOCH FROM {end} - {begin})"
    return f"ROUND((julianday({end}) - julianday({begin})) * 86400, 3)"


class Check:
    """check(figure, text, count): it says that, and leads to a list of so many rows."""

    def __init__(self, user: User) -> None:
        self._user = user
        self._counted: dict[str, int] = {}
        self.checked: set[int] = set()

    def __call__(self, figure: Figure | None, text: object, count: int) -> None:
        assert figure is not None, text
        assert figure.text == str(text), figure
        if figure.link not in self._counted:
            keys = rows_of(figure.link, self._user)
            assert len(set(keys)) == len(keys)
            self._counted[figure.link] = len(keys)
        assert self._counted[figure.link] == count, figure
        self.checked.add(id(figure))

    def without_list(self, figure: Figure | None, text: object) -> None:
        assert figure is not None, text
        assert (figure.text, figure.link) == (str(text), "")
        self.checked.add(id(figure))
