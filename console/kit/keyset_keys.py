"""Keys of rows in a list: as values, as text in an address, and as a condition for older or newer rows."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from django.core.exceptions import ValidationError
from django.db.models import Model, Q

Key = tuple[Any, ...]
"""Values of a row's key, or only the first value: the place between its rows and older rows."""


def write_key(key: Key) -> str:
    return ",".join(value.isoformat() if isinstance(value, datetime) else str(value) for value in key)


def parse_key(text: str, model: type[Model], names: Sequence[str]) -> Key:
    """Read a key from the text of `write_key`. Raises ValidationError for any other text."""
    values = text.split(",")
    if len(values) > len(names):
        raise ValidationError("There are more values than a key has.")
    fields = (model._meta.get_field(name) for name in names)
    return tuple(_parse(field, value) for field, value in zip(fields, values, strict=False))


def _parse(field: Any, text: str) -> Any:
    value = field.to_python(text)
    if value is None:
        raise ValidationError("A value is missing.")
    if not isinstance(value, datetime):
        return value
    if value.tzinfo is None:
        raise ValidationError("The time zone is missing.")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValidationError("There is no such time.") from None


def beyond(names: Sequence[str], key: Key, direction: Literal["lt", "gt"]) -> Q:
    """The condition for rows with older (`lt`) or newer (`gt`) keys."""
    pairs = list(zip(names, key, strict=False))
    if direction == "gt" and len(key) < len(names):
        ((name, value),) = pairs
        return Q(**{f"{name}__gte": value})
    return _compare(pairs, direction)


def _compare(pairs: Sequence[tuple[str, Any]], direction: str) -> Q:
    """Compare like tuples, with an extra condition on the first value alone for an index."""
    (name, value), *others = pairs
    further = Q(**{f"{name}__{direction}": value})
    if not others:
        return further
    return Q(**{f"{name}__{direction}e": value}) & (further | _compare(others, direction))
