"""Pictures of values: axes, lines with breaks, and marks."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.dashboard.svg import ONE_AXIS, SHARE, TIME, TWO_AXES, Axis, counted, line, mark, marks

JOBS = counted("jobs")
VALUES = st.lists(st.none() | st.floats(0, 1e8), min_size=1, max_size=200)


def labels(axis: Axis) -> list[str]:
    return [label for _, label in axis.ticks]


@pytest.mark.parametrize(
    ("unit", "highest", "expected"),
    [
        (JOBS, 0, ["0", "1"]),
        (JOBS, 1, ["0", "1"]),
        (JOBS, 3, ["0", "1", "2", "3"]),
        (JOBS, 7, ["0", "2", "4", "6", "8"]),
        (JOBS, 2_345, ["0", "1,000", "2,000", "3,000"]),
        (JOBS, 35_000, ["0", "10k", "20k", "30k", "40k"]),
        (JOBS, 1_300_000, ["0", "500k", "1M", "1.5M"]),
        (TIME, 0, ["0", "0.1 s"]),
        (TIME, 0.35, ["0", "0.1 s", "0.2 s", "0.3 s", "0.4 s"]),
        (TIME, 9, ["0", "5 s", "10 s"]),
        (TIME, 50, ["0", "15 s", "30 s", "45 s", "1 min"]),
        (TIME, 700, ["0", "5 min", "10 min", "15 min"]),
        (TIME, 86_400, ["0", "6 h", "12 h", "18 h", "1 d"]),
        (TIME, 86_400 * 25, ["0", "10 d", "20 d", "30 d"]),
        (SHARE, 0.3, ["0%", "25%", "50%", "75%", "100%"]),
    ],
)
def test_ticks_are_at_round_values_and_few(unit, highest, expected):
    assert labels(Axis.of(unit, ONE_AXIS, [highest])) == expected


@given(st.sampled_from([JOBS, TIME]), st.lists(st.floats(0, 1e12), max_size=50))
def test_an_axis_has_room_for_all_values_and_not_much_more(unit, values):
    axis = Axis.of(unit, ONE_AXIS, values)
    assert 2 <= len(axis.ticks) <= 6
    for value in values:
        assert ONE_AXIS.top <= axis.place(value) <= ONE_AXIS.bottom
    if max(values, default=0) > 1:
        assert max(values) > axis.highest / 2 - 1


def test_a_line_goes_through_its_values_in_the_order_of_time():
    axis = Axis.of(JOBS, ONE_AXIS, [4])
    assert line([0, 4, 2], [50, 60, 70], axis) == "M50 174L60 24L70 99"


@given(VALUES)
def test_a_line_breaks_where_there_is_no_value_and_bridges_nothing(values):
    axis = Axis.of(JOBS, ONE_AXIS, [value for value in values if value is not None])
    xs = ONE_AXIS.columns(len(values))
    drawn = [
        [float(x) for x in re.findall(r"(?:^|L)([\d.]+) ", piece)]
        for piece in line(values, xs, axis).split("M")
        if piece
    ]
    expected: list[list[float]] = []
    for number, value in enumerate(values):
        if value is None:
            continue
        if number == 0 or values[number - 1] is None:
            expected.append([])
        expected[-1].append(float(f"{xs[number]:g}"))
    assert drawn == expected


def test_a_value_between_two_breaks_is_a_dot():
    axis = Axis.of(JOBS, ONE_AXIS, [4])
    assert line([None, 4, None], [50, 60, 70], axis) == "M60 24h0"


def test_without_values_there_is_no_line_and_no_mark():
    axis = Axis.of(JOBS, ONE_AXIS, [])
    assert line([None, None], [50, 60], axis) == marks([None, None], [50, 60], axis, 0) == ""


@given(VALUES)
def test_the_newest_value_always_has_a_mark_and_few_others_have(values):
    known = [number for number, value in enumerate(values) if value is not None]
    axis = Axis.of(JOBS, ONE_AXIS, [value for value in values if value is not None])
    xs = ONE_AXIS.columns(len(values))
    for shape in range(4):
        drawn = marks(values, xs, axis, shape)
        assert drawn.count("M") <= 10
        if known:
            assert mark(xs[known[-1]], axis.place(values[known[-1]] or 0), shape) in drawn


def test_the_marks_of_the_lines_of_a_chart_have_different_shapes_and_places():
    axis = Axis.of(JOBS, ONE_AXIS, [1])
    drawn = [marks([1.0] * 60, ONE_AXIS.columns(60), axis, shape) for shape in range(4)]
    places = [set(re.findall(r"M(\S+) ", one)[:-1]) for one in drawn]
    assert len({mark(0, 0, shape) for shape in range(4)}) == 4
    assert sum(map(len, places)) == len(set.union(*places))


@pytest.mark.parametrize("frame", [ONE_AXIS, TWO_AXES])
def test_stretches_without_points_are_as_wide_as_the_points_would_be(frame):
    room = (frame.right - frame.left) / 6
    found = frame.gaps([True, False, False, True, True, False])
    assert found == [
        (pytest.approx(frame.left + room, abs=0.1), pytest.approx(2 * room, abs=0.1)),
        (pytest.approx(frame.left + 5 * room, abs=0.1), pytest.approx(room, abs=0.1)),
    ]
    assert frame.gaps([True] * 6) == []


@given(st.integers(1, 500))
def test_points_lie_within_the_plot_from_left_to_right(count):
    xs = ONE_AXIS.columns(count)
    assert xs == sorted(xs)
    assert ONE_AXIS.left <= xs[0] <= xs[-1] <= ONE_AXIS.right
