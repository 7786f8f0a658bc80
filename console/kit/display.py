"""Columns, moments and badges of the admin's lists and pages."""

from collections.abc import Callable
from datetime import timedelta
from functools import cache
from typing import Any

from django.contrib import admin
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from stockqueue.wording import describe_duration, describe_moment


def format_duration(duration: timedelta | None) -> str | None:
    if duration is None:
        return None
    return describe_duration(duration).replace(" ", "\xa0")  # a column is narrow


def moment_column(field: str, description: str) -> Callable[[Any, Any], str | None]:
    """A column or field that shows a moment with seconds; Django's own format has none."""

    @admin.display(description=description, ordering=field)
    def show(_admin: Any, row: Any) -> str | None:
        moment = getattr(row, field)
        return None if moment is None else describe_moment(moment)

    return show


@cache
def badge(text: str, colour: str) -> SafeString:
    """A coloured word: unfold's `info`, `success`, `warning`, `danger` or `primary`; an empty `colour` is grey.

    Each badge is rendered once and cached: unfold renders its labels for each row, a third of a list's time.
    """
    return render_to_string("unfold/helpers/label.html", {"text": text, "type": colour})
