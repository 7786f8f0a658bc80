"""Queries for single values among all metrics."""

from collections.abc import Callable, Collection, Iterator

from operations.monitoring.metrics import Samples

Measure = Callable[[Samples], float | None]
"""Finds a value; None without a sample, or with the metric family switched off."""
Wanted = str | Collection[str]
"""The required value of a label, or several allowed values."""


def largest(metric: str, **labels: Wanted) -> Measure:
    """The largest value of a metric with the given labels."""
    return lambda samples: max(_values(samples, metric, labels), default=None)


def total(metric: str, **labels: Wanted) -> Measure:
    """The sum of a metric's values with the given labels."""

    def measure(samples: Samples) -> float | None:
        values = list(_values(samples, metric, labels))
        return sum(values) if values else None

    return measure


def count_below(metric: str, limit: float) -> Measure:
    """The number of a metric's values below a limit."""
    return lambda samples: sum(value < limit for value in _values(samples, metric, {}))


def _values(samples: Samples, metric: str, labels: dict[str, Wanted]) -> Iterator[float]:
    wanted = {name: {value} if isinstance(value, str) else set(value) for name, value in labels.items()}
    for found, value in samples.get(metric, ()):
        if all(found.get(name) in values for name, values in wanted.items()):
            yield value
