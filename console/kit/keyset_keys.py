"""Keys of rows in a list, as values, as text in an address, and as a condition for what is older or newer."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from django.core.exceptions import ValidationError
from django.db.models import Model, Q

Key = tuple[Any, ...]
"""Values of a row's key, or the first alone: the place between the rows that have it and the older ones."""


def write_key(key: Key) -> str:
    return ",".join(value.isoformat() if isinstance(value, datetime) else str(value) for value in key)


def parse_key(text: str, model: type[Model], names: Sequence[str]) -> Key:
    """The key that `write_key` wrote. ValidationError for anything else."""
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
    """The rows whose keys are older (`lt`) or newer (`gt`)."""
    pairs = list(zip(names, key, strict=False))
    if direction == "gt" and len(key) < len(names):
        ((name, value),) = pairs
        return Q(**{f"{name}__gte": value})
    return _compare(pairs, direction)


def _compare(pairs: Sequence[tuple[str, Any]], direction: str) -> Q:
    """As tuples are compared; the first value by itself, too, which an index can take."""
    (name, value), *others = pairs
    further = Q(**{f"{name}__{direction}": value})
    if not others:
        return further
    return Q(**{f"{name}__{direction}e": value}) & (further | _compare(others, direction))
