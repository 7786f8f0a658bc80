"""The splits in Yahoo's charts are read in whole shares, without spin-offs."""

import copy
import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from market.sources.base import Split
from market.sources.yahoo.splits import note_splits, noted_splits

RECORDED = Path(__file__).resolve().parents[3] / "shared" / "yahoo-recorded"
SOME_TIME = int(datetime(2026, 3, 6, 17, tzinfo=UTC).timestamp())


def chart(**events: Any) -> dict[str, Any]:
    return {"chart": {"result": [{"meta": {"exchangeTimezoneName": "America/New_York"}, **events}]}}


def read(*entries: Any) -> list[str]:
    made = chart(events={"splits": {str(number): entry for number, entry in enumerate(entries)}})
    assert note_splits(made)
    facts = made["chart"]["result"][0]["meta"]
    return [f"{one.numerator}:{one.denominator}" for one in noted_splits(facts, date(2026, 3, 1))]


def entry(numerator: Any, denominator: Any, at: Any = SOME_TIME) -> dict[str, Any]:
    return {"date": at, "numerator": numerator, "denominator": denominator, "splitRatio": "?"}


@pytest.mark.parametrize(
    ("terms", "told"),
    [
        ((4, 1), "4:1"),
        ((4.0, 1.0), "4:1"),
        ((1, 30), "1:30"),
        ((3, 2), "3:2"),
        ((1.5, 1), "3:2"),
        ((103, 100), "103:100"),
        ((1, 5_000), "1:5000"),
    ],
)
def test_a_split_is_told_in_whole_shares(terms, told):
    assert read(entry(*terms)) == [told]


@pytest.mark.parametrize("terms", [(1_281, 1_000), (1.281, 1), (1_250, 1_000)], ids=str)
def test_a_spin_off_is_no_split(terms):
    assert read(entry(*terms)) == []


@pytest.mark.parametrize(
    "broken",
    [
        *(entry(*terms) for terms in ((0, 1), (1, 0), (-4, 1), (None, 1), ("4", "1"), (1, 1), (1e17, 1), (True, 1))),
        *(entry(4, 1, at) for at in (None, "today", 1e17, float("nan"))),
        *(None, [], "4:1", {}),
    ],
    ids=str,
)
def test_an_unreadable_split_is_left_out(broken):
    assert read(broken, entry(2, 1)) == ["2:1"]


@pytest.mark.parametrize(
    "answered", [None, [], {}, {"chart": None}, chart(), chart(events=None), chart(events={"splits": [1]})], ids=str
)
def test_a_chart_without_splits_is_left_as_it_is(answered):
    before = copy.deepcopy(answered)
    assert not note_splits(answered)
    assert answered == before


@pytest.mark.skipif(not RECORDED.is_dir(), reason="no recorded answers beside this checkout")
def test_the_split_of_a_recorded_chart_is_read():
    recorded = json.loads((RECORDED / "chart-NVDA-split-2021-02-01-to-2022-01-31.json").read_text())["body"]
    assert note_splits(recorded)
    facts = recorded["chart"]["result"][0]["meta"]
    assert noted_splits(facts, date(2021, 2, 1)) == (Split(date(2021, 7, 20), 4, 1),)
    assert noted_splits(facts, date(2021, 7, 21)) == ()
