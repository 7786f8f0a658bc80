"""The charts of the page "Stock data", drawn from the readings of the last hour, day or week."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone

from console.dashboard import svg
from console.dashboard.chart_specs import Series, Subject, subjects
from console.dashboard.links import Figure
from console.dashboard.svg import ONE_AXIS, TIME, TWO_AXES, Axis, Frame
from operations.models import Reading
from operations.monitoring import readings
from operations.monitoring.readings import Period, Point

JUST_NOW = timedelta(minutes=3)
"""The age at which a reading no longer counts as the latest value, because measuring has stopped."""

_SPLIT: Mapping[Period, Callable[[datetime], object]] = {
    Period.HOUR: lambda moment: (moment.hour, moment.minute // 15),
    Period.DAY: lambda moment: moment.hour // 6,
    Period.WEEK: lambda moment: moment.day,
}
"""The time axis has a tick at each change of the function's result."""
_TICK = {Period.HOUR: "%H:%M", Period.DAY: "%H:%M", Period.WEEK: "%a"}
_ROW = {Period.HOUR: "%H:%M", Period.DAY: "%a %H:%M", Period.WEEK: "%a %d %H:%M"}


@dataclass(frozen=True)
class Line:
    """A drawn series. `style` is its number from 1 on, or `over`; `sample` is its mark for the legend."""

    label: str
    style: str
    path: str
    marks: str
    sample: str
    latest: Figure | None


@dataclass(frozen=True)
class Chart:
    """A chart as a picture, in words and as a table of a time and a text for each line, the newest row first.

    `times` are ticks (x, label). `gaps` are stretches without readings (x, width).
    """

    key: str
    title: str
    meaning: str
    description: str
    frame: Frame
    axes: Sequence[Axis]
    times: Sequence[tuple[float, str]]
    gaps: Sequence[tuple[float, float]]
    lines: Sequence[Line]
    rows: Sequence[tuple[str, Sequence[str]]]

    @property
    def is_empty(self) -> bool:
        return not any(line.path for line in self.lines)


@dataclass(frozen=True)
class Charts:
    """All charts of a period; `charts` is empty until the page has requested the charts.

    `at` is the time of the last reading, `trouble` the reason why nothing is measured now.
    """

    period: Period
    periods: Sequence[Period]
    at: datetime | None
    trouble: str
    charts: Sequence[Chart]


@dataclass(frozen=True)
class _Track:
    """A series with its axis."""

    series: Series
    axis: Axis
    style: str

    def values(self, points: Sequence[Point]) -> list[float | None]:
        return [point.figures.get(self.series.name) for point in points]


def period_of(name: str) -> Period:
    """The period with this name, such as `day`, from a page's address; otherwise the hour."""
    return next((period for period in Period if period.title == name), Period.HOUR)


def awaited(period: Period) -> Charts:
    """Charts without content, for a page that requests its charts separately. No queries."""
    return Charts(period=period, periods=list(Period), at=None, trouble="", charts=())


def collect(period: Period) -> Charts:
    """Draw all charts as of now. Two queries."""
    now = timezone.now()
    points, reading = readings.history(period, now), readings.latest()
    is_new = reading is not None and now - reading.at <= JUST_NOW
    return Charts(
        period=period,
        periods=list(Period),
        at=None if reading is None else reading.at,
        trouble="" if is_new else _trouble(reading),
        charts=[_draw(subject, period, points, reading if is_new else None) for subject in subjects()],
    )


def _trouble(reading: Reading | None) -> str:
    if not settings.JOB_PROCESSOR.monitoring.enabled:
        return "No data is collected, because monitoring.enabled is false."
    since = "yet" if reading is None else f"since {timezone.localtime(reading.at):%Y-%m-%d %H:%M}"
    return f"No data {since}. Beat and a worker collect the data, or else the MQTT bridge."


def _draw(subject: Subject, period: Period, points: Sequence[Point], reading: Reading | None) -> Chart:
    frame = ONE_AXIS if subject.over is None else TWO_AXES
    xs = frame.columns(len(points))
    axes = [Axis.of(subject.unit, frame, _known(subject.series, points))]
    tracks = [_Track(series, axes[0], str(number)) for number, series in enumerate(subject.series, start=1)]
    if subject.over is not None:
        axes.append(Axis.of(replace(TIME, title=subject.over.label), frame, _known([subject.over], points)))
        tracks.append(_Track(subject.over, axes[1], "over"))
    is_measured = [*(bool(point.figures) for point in points[:-1]), True]  # the last minute is not over yet
    return Chart(
        key=subject.key,
        title=subject.title,
        meaning=subject.meaning,
        description=_describe(tracks, period, points, is_measured.count(False)),
        frame=frame,
        axes=axes,
        times=_times(period, points, xs),
        gaps=frame.gaps(is_measured),
        lines=[_line(track, points, xs, reading) for track in tracks],
        rows=[_row(point, period, tracks) for point in reversed(points)],
    )


def _line(track: _Track, points: Sequence[Point], xs: Sequence[float], reading: Reading | None) -> Line:
    series, axis, values = track.series, track.axis, track.values(points)
    shape = int(track.style) - 1 if track.style.isdecimal() else None
    latest = None if reading is None else readings.figure_of(reading, series.name)
    return Line(
        label=series.label,
        style=track.style,
        path=svg.line(values, xs, axis),
        marks="" if shape is None else svg.marks(values, xs, axis, shape),
        sample="" if shape is None else svg.mark(14, 6, shape),
        latest=None if reading is None or latest is None else Figure(axis.unit.say(latest), series.link(reading)),
    )


def _known(series: Sequence[Series], points: Sequence[Point]) -> list[float]:
    found = (point.figures.get(one.name) for one in series for point in points)
    return [value for value in found if value is not None]


def _describe(tracks: Sequence[_Track], period: Period, points: Sequence[Point], missing: int) -> str:
    parts = []
    for track in tracks:
        values, say = _known([track.series], points), track.axis.unit.say
        parts.append(f"{track.series.label}: {f'{say(min(values))} to {say(max(values))}' if values else 'none'}")
    gaps = f" No data at {missing} of {len(points)} points." if missing else ""
    return f"The last {period.title}, {period.pace}. {'; '.join(parts)}.{gaps}"


def _times(period: Period, points: Sequence[Point], xs: Sequence[float]) -> list[tuple[float, str]]:
    split, starts = _SPLIT[period], [timezone.localtime(point.start) for point in points]
    return [
        (x, f"{start:{_TICK[period]}}")
        for x, start in zip(xs, starts, strict=True)
        if split(start) != split(start - period.step)
    ]


def _row(point: Point, period: Period, tracks: Sequence[_Track]) -> tuple[str, Sequence[str]]:
    cells = ((track.axis.unit.say, point.figures.get(track.series.name)) for track in tracks)
    return f"{timezone.localtime(point.start):{_ROW[period]}}", [
        "" if value is None else say(value) for say, value in cells
    ]
