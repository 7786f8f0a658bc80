"""The rows that a user has selected in a list, for an action."""

from typing import TypeVar

from django.contrib import messages
from django.db.models import Model, QuerySet
from django.http import HttpRequest

MOST_SELECTED = 500
"""Rows of one action at most, because a form must not have more hidden fields."""

_Row = TypeVar("_Row", bound=Model)


def selected_rows(request: HttpRequest, rows: QuerySet[_Row], hint: str = "select fewer") -> list[_Row] | None:
    """The selected rows. For more than MOST_SELECTED: None, and an error message with the hint."""
    selected = list(rows[: MOST_SELECTED + 1])
    if len(selected) <= MOST_SELECTED:
        return selected
    what = rows.model._meta.verbose_name_plural
    messages.error(request, f"More than {MOST_SELECTED} {what} are selected; {hint}.")
    return None
