"""A user's answers about files: the meaning of columns, and the symbols of securities' numbers."""

import hashlib
import json
from collections.abc import Mapping, Sequence

from django.contrib.auth.models import User

from portfolio.files.columns import Column
from portfolio.files.tables import Assigned
from portfolio.models import AssignedColumns, AssignedSymbol

MOST_HEADERS = 100
"""The last headers of a user that are used."""
CHOICES = (
    *(Column.SYMBOL, Column.NUMBER, Column.NAME, Column.SHARES, Column.BUY_PRICE, Column.TOTAL_COST, Column.PRICE),
    *(Column.DATE, Column.ACTION, Column.AMOUNT, Column.CURRENCY, Column.EXCHANGE, Column.ACCOUNT),
)
"""The columns that a person can assign."""


class NotAssignable(ValueError):
    """The columns do not make a portfolio; the message tells the missing column."""


def assigned_columns(user: User) -> Assigned:
    """The columns of all headers that the user has assigned."""
    rows = AssignedColumns.objects.filter(user=user).order_by("-pk")[:MOST_HEADERS]
    return {tuple(row.names): {Column[name]: place for name, place in row.columns.items()} for row in rows}


def assign_columns(user: User, names: Sequence[str], chosen: Sequence[str]) -> None:
    """Keep the meaning of a header's columns: a Column's name for each, or an empty text. Raises NotAssignable."""
    known = {column.name for column in CHOICES}
    places = {name: place for place, name in enumerate(chosen) if name in known}
    if len(places) < sum(name in known for name in chosen):
        raise NotAssignable("Two columns have the same meaning; choose one of them.")
    if not places.keys() & {Column.SYMBOL.name, Column.NUMBER.name}:
        raise NotAssignable("Choose the column with the symbols, or with the ISINs.")
    if Column.SHARES.name not in places:
        raise NotAssignable("Choose the column with the shares.")
    AssignedColumns.objects.update_or_create(
        user=user, digest=_digest(names), defaults={"names": list(names), "columns": places}
    )


def assign_symbols(user: User, symbols: Mapping[str, str]) -> None:
    """Keep the user's symbols of numbers or names."""
    AssignedSymbol.objects.bulk_create(
        (AssignedSymbol(user=user, number=number, symbol=symbol) for number, symbol in sorted(symbols.items())),
        update_conflicts=True,
        unique_fields=["user", "number"],
        update_fields=["symbol"],
    )


def _digest(names: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(list(names)).encode()).hexdigest()
