"""Drawing of values as SVG: axes with round numbers, lines with breaks at missing values, and marks.

All coordinates are in the units of the SVG's `viewBox`.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby

from stockqueue.wording import describe_duration

MOST_STEPS = 4
"""Steps of an axis at most."""
MARKS = 4
"""Approximate number of marks on a line; marks distinguish lines for readers who see no colours."""

_SHAPES = (
    "m-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0-7 0z",
    "m-3.5-3.5h7v7h-7z",
    "m0-4l4 7.5h-8z",
    "m0-4.5l4.5 4.5l-4.5 4.5l-4.5-4.5z",
)
_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0


@dataclass(frozen=True)
class Frame:
    """The place of the plot in the picture. The width is a telephone's, to keep the text readable there."""

    right: int
    left: int = 46
    top: int = 24
    bottom: int = 174
    width: int = 340
    height: int = 200

    @property
    def depth(self) -> int:
        return self.bottom - self.top

    @property
    def middle(self) -> int:
        return (self.left + self.right) // 2

    def columns(self, count: int) -> list[float]:
        """The x of each of `count` points, in the middle of its column."""
        return [round(self.left + (number + 0.5) * self._room(count), 1) for number in range(count)]

    def place(self, share: float) -> float:
        """The y of a value at this share of the axis."""
        return round(self.bottom - share * self.depth, 1)

    def gaps(self, is_there: Sequence[bool]) -> list[tuple[float, float]]:
        """The stretches without points, as x and width."""
        room, number, found = self._room(len(is_there)), 0, []
        for there, run in groupby(is_there):
            length = len(list(run))
            if not there:
                found.append((round(self.left + number * room, 1), round(length * room, 1)))
            number += length
        return found

    def _room(self, count: int) -> float:
        return (self.right - self.left) / count


ONE_AXIS, TWO_AXES = Frame(right=330), Frame(right=292)


@dataclass(frozen=True)
class Unit:
    """The unit of an axis: its title, the allowed distances of ticks, and the format of values.

    `label` is the short format, for ticks. `whole` is the top of an axis with a fixed range.
    """

    title: str
    steps: Sequence[float]
    label: Callable[[float], str]
    say: Callable[[float], str]
    whole: float | None = None


@dataclass(frozen=True)
class Axis:
    """An axis from 0 at the bottom of the plot to `highest` at its top; a tick has a y and a label."""

    unit: Unit
    frame: Frame
    highest: float
    ticks: Sequence[tuple[float, str]]

    @classmethod
    def of(cls, unit: Unit, frame: Frame, values: Sequence[float]) -> "Axis":
        """The lowest axis with room for all values."""
        most = unit.whole or max(values, default=0.0)
        step = next((one for one in unit.steps if most <= MOST_STEPS * one), most / MOST_STEPS)
        count = max(1, math.ceil(most / step))
        ticks = [(frame.place(number / count), unit.label(number * step)) for number in range(count + 1)]
        return cls(unit, frame, count * step, ticks)

    def place(self, value: float) -> float:
        return self.frame.place(value / self.highest)


def line(values: Sequence[float | None], xs: Sequence[float], axis: Axis) -> str:
    """An SVG path through the values. It breaks at None; a value between two breaks is a dot."""
    parts = []
    for run in _runs(values):
        places = [f"{xs[number]:g} {axis.place(value):g}" for number, value in run]
        parts.append("M" + "L".join(places) if len(places) > 1 else f"M{places[0]}h0")
    return "".join(parts)


def marks(values: Sequence[float | None], xs: Sequence[float], axis: Axis, shape: int) -> str:
    """An SVG path with marks on some of the values, the newest one included."""
    known = [(number, value) for number, value in enumerate(values) if value is not None]
    every = max(1, len(values) // MARKS)
    first = shape * every // len(_SHAPES)  # overlapping lines have marks at different places
    chosen = [one for one in known if one[0] % every == first or one == known[-1]]
    return "".join(mark(xs[number], axis.place(value), shape) for number, value in chosen)


def mark(x: float, y: float, shape: int) -> str:
    """An SVG path of one mark around a place: a disc (0), a square, a triangle or a diamond (3)."""
    return f"M{x:g} {y:g}{_SHAPES[shape % len(_SHAPES)]}"


def _runs(values: Sequence[float | None]) -> Iterator[list[tuple[int, float]]]:
    """Yield each run of values without a break, as pairs of index and value."""
    run: list[tuple[int, float]] = []
    for number, value in enumerate([*values, None]):
        if value is not None:
            run.append((number, value))
        elif run:
            yield run
            run = []


def _decades(first: int, last: int) -> list[float]:
    return [factor * 10.0**exponent for exponent in range(first, last) for factor in (1, 2, 5)]


def _short_count(count: float) -> str:
    if count >= 1_000_000:
        return f"{count / 1_000_000:g}M"
    return f"{count / 1_000:g}k" if count >= 10_000 else f"{count:,.0f}"


def _short_time(seconds: float) -> str:
    for size, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= size:
            return f"{seconds / size:g} {name}"
    return f"{seconds:g} s" if seconds else "0"


def _long_time(seconds: float) -> str:
    return describe_duration(timedelta(seconds=seconds))


def counted(things: str) -> Unit:
    """The unit of a count of `things`."""
    return Unit(things, _decades(0, 9), _short_count, lambda count: f"{count:,.0f}")


TIME = Unit(
    "time",
    [
        *_decades(-1, 0),
        *(1.0, 2.0, 5.0, 10.0, 15.0, 30.0),
        *(minutes * _MINUTE for minutes in (1, 2, 5, 10, 15, 30)),
        *(hours * _HOUR for hours in (1, 2, 3, 6, 12)),
        *(days * _DAY for days in _decades(0, 4)),
    ],
    _short_time,
    _long_time,
)
SHARE = Unit("share", [0.25], "{:.0%}".format, "{:.0%}".format, whole=1.0)
