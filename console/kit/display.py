"""How the admin shows what several of its lists and pages have."""

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
    """A column or field that shows a moment with its seconds, which Django's own format leaves out."""

    @admin.display(description=description, ordering=field)
    def show(_admin: Any, row: Any) -> str | None:
        moment = getattr(row, field)
        return None if moment is None else describe_moment(moment)

    return show


@cache
def badge(text: str, colour: str) -> SafeString:
    """A word of few, on unfold's `info`, `success`, `warning`, `danger` or `primary`; an empty `colour` is grey.

    Rendered once: unfold's own labels, rendered for each row, took a third of the time of a list.
    """
    return render_to_string("unfold/helpers/label.html", {"text": text, "type": colour})
