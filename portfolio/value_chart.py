"""A chart of a portfolio's value beside a benchmark, as SVG. All coordinates are in the picture's `viewBox`."""

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from portfolio.value_history import ValueHistory

WIDTH, HEIGHT = 720, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 4, 4, 30, 34
POINTS = 360
"""The most points of a line: more are not visible."""
_STEPS = 4


@dataclass(frozen=True)
class Tick:
    """A mark of an axis with its place and label."""

    place: float
    label: str


@dataclass(frozen=True)
class ValueChart:
    """The lines as SVG paths, the axes, and the change of each line over the range, such as 0.05.

    The benchmark begins at the portfolio's first value. With fewer than two stored closes it has no line.
    """

    line: str
    benchmark_line: str
    values: Sequence[Tick]
    days: Sequence[Tick]
    first: float
    last: float
    first_day: date
    last_day: date
    change: float | None
    benchmark_change: float | None


def draw(history: ValueHistory, benchmark: Sequence[tuple[date, float]]) -> ValueChart | None:
    """The chart of a history; None for fewer than two days."""
    if len(history.days) < 2:
        return None
    points = _thin(list(zip(history.days, history.values, strict=True)))
    scaled = _scaled(benchmark, points)
    lowest, highest, ticks = _axis([value for _, value in [*points, *scaled]])
    days = (points[0][0], points[-1][0])
    return ValueChart(
        line=_path(points, days, lowest, highest),
        benchmark_line=_path(scaled, days, lowest, highest),
        values=[Tick(_y(value, lowest, highest), _short(value)) for value in ticks],
        days=[Tick(_x(day, days), f"{day}") for day in _some(points)],
        first=points[0][1],
        last=points[-1][1],
        first_day=days[0],
        last_day=days[1],
        change=_change(points),
        benchmark_change=_change(scaled),
    )


def _thin(points: Sequence[tuple[date, float]]) -> list[tuple[date, float]]:
    """At most about POINTS of the points, the first and the last included."""
    every = math.ceil(len(points) / POINTS)
    return [*points[:-1:every], points[-1]]


def _scaled(benchmark: Sequence[tuple[date, float]], points: Sequence[tuple[date, float]]) -> list[tuple[date, float]]:
    """The benchmark's closes as of the days of the points, in proportion to the first value."""
    starts = [day for day, _ in benchmark]
    known = [(day, bisect.bisect_right(starts, day)) for day, _ in points]
    closes = [(day, benchmark[place - 1][1]) for day, place in known if place]
    if len(closes) < 2 or not closes[0][1]:
        return []
    begins = next(value for day, value in points if day == closes[0][0])
    return [(day, begins * close / closes[0][1]) for day, close in closes]


def _axis(values: Sequence[float]) -> tuple[float, float, list[float]]:
    """The ends of an axis with round numbers, and its ticks."""
    lowest, highest = min(values), max(values)
    span = (highest - lowest) or abs(highest) or 1.0
    magnitude = 10.0 ** math.floor(math.log10(span / _STEPS))
    step = next(size * magnitude for size in (1, 2, 5, 10) if span / (size * magnitude) <= _STEPS)
    first, last = math.floor(lowest / step), max(math.ceil(highest / step), math.floor(lowest / step) + 1)
    return first * step, last * step, [number * step for number in range(first, last + 1)]


def _path(points: Sequence[tuple[date, float]], days: tuple[date, date], lowest: float, highest: float) -> str:
    places = (f"{_x(day, days):g} {_y(value, lowest, highest):g}" for day, value in points)
    return "M" + "L".join(places) if points else ""


def _x(day: date, days: tuple[date, date]) -> float:
    share = (day - days[0]) / (days[1] - days[0])
    return round(_LEFT + share * (WIDTH - _LEFT - _RIGHT), 1)


def _y(value: float, lowest: float, highest: float) -> float:
    share = (value - lowest) / (highest - lowest)
    return round(HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM), 1)


def _some(points: Sequence[tuple[date, float]]) -> list[date]:
    """The days that the axis names: the first, the middle and the last."""
    return list(dict.fromkeys(points[place][0] for place in (0, len(points) // 2, -1)))


def _change(points: Sequence[tuple[date, float]]) -> float | None:
    return points[-1][1] / points[0][1] - 1 if points and points[0][1] else None


def _short(value: float) -> str:
    """`1,200`, `12.5k`, `3M`."""
    for size, name in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if name == 'k' else size):,.4g}{name}"
    return f"{value:,.6g}"
