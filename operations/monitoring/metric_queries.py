"""Single values out of all metrics."""

from collections.abc import Callable, Collection, Iterator

from operations.monitoring.metrics import Samples

Measure = Callable[[Samples], float | None]
"""Finds a value; None where there is none: nothing has it just now, or its family is switched off."""
Wanted = str | Collection[str]
"""The value that a label has to have, or those of which it has to have one."""


def largest(metric: str, **labels: Wanted) -> Measure:
    """The largest value that the metric has with these labels."""
    return lambda samples: max(_values(samples, metric, labels), default=None)


def total(metric: str, **labels: Wanted) -> Measure:
    """The sum of the values that the metric has with these labels."""

    def measure(samples: Samples) -> float | None:
        values = list(_values(samples, metric, labels))
        return sum(values) if values else None

    return measure


def _values(samples: Samples, metric: str, labels: dict[str, Wanted]) -> Iterator[float]:
    wanted = {name: {value} if isinstance(value, str) else set(value) for name, value in labels.items()}
    for found, value in samples.get(metric, ()):
        if all(found.get(name) in values for name, values in wanted.items()):
            yield value
