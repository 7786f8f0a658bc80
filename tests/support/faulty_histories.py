"""Stored histories with faults of many kinds, and odd histories that are right."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from tests.support.standins.yahoo_chart import Bar

DAY = timedelta(days=1)
UNKNOWN: Any = None
Bars = list[Bar]


def scaled(bars: Sequence[Bar], factor: float) -> Bars:
    return [
        replace(
            bar,
            open=bar.open * factor,
            high=bar.high * factor,
            low=bar.low * factor,
            close=bar.close * factor,
            adj_close=bar.adj_close * factor,
        )
        for bar in bars
    ]


def _replaced(bars: Bars, place: int, *new: Bar) -> Bars:
    return [*bars[:place], *new, *bars[place + 1 :]]


def _half(bars: Bars) -> tuple[Bars, Bars]:
    return bars[: len(bars) // 2], bars[len(bars) // 2 :]


def not_adjusted(bars: Bars) -> Bars:
    before, after = _half(bars)
    return [*scaled(before, 4), *after]


def adjusted_twice(bars: Bars) -> Bars:
    before, after = _half(bars)
    return [*scaled(before, 0.5), *after]


def stale_dividend(bars: Bars) -> Bars:
    before, after = _half(bars)
    return [*(replace(bar, adj_close=bar.adj_close * 1.02) for bar in before), *after]


def pounds_among_pence(bars: Bars) -> Bars:
    return [*bars[:30], *scaled(bars[30:45], 0.01), *bars[45:]]


def decimal_slip(bars: Bars) -> Bars:
    return _replaced(bars, 40, *scaled(bars[40:41], 10))


def slightly_wrong_close(bars: Bars) -> Bars:
    return _replaced(bars, 20, replace(bars[20], close=bars[20].close * 1.03))


def zeros(bars: Bars) -> Bars:
    return _replaced(bars, 25, replace(bars[25], open=0.0, high=0.0, low=0.0))


def missing_days(bars: Bars) -> Bars:
    return [*bars[:30], *bars[37:]]


def bar_of_a_sunday(bars: Bars) -> Bars:
    monday = next(place for place, bar in enumerate(bars) if place > 10 and bar.date.weekday() == 0)
    return [*bars[:monday], replace(bars[monday], date=bars[monday].date - DAY), *bars[monday:]]


def a_day_late(bars: Bars) -> Bars:
    """Bars of Mondays to Thursdays on the next day, so that Fridays have the bars of Thursdays."""
    late = {bar.date + DAY: replace(bar, date=bar.date + DAY) for bar in bars[50:60] if bar.date.weekday() < 4}
    return [late.get(bar.date, bar) for bar in bars]


def lost_volumes(bars: Bars) -> Bars:
    return [*bars[:20], *(replace(bar, volume=0) for bar in bars[20:50]), *bars[50:]]


def high_and_low_swapped(bars: Bars) -> Bars:
    return _replaced(bars, 33, replace(bars[33], high=bars[33].low, low=bars[33].high))


def repeated_close(bars: Bars) -> Bars:
    return _replaced(bars, 44, replace(bars[43], date=bars[44].date))


def another_company_before(bars: Bars) -> Bars:
    older = [replace(bar, date=bar.date - 500 * DAY) for bar in bars[:20]]
    return [*scaled(older, 7), *bars]


FAULTS: dict[str, Callable[[Bars], Bars]] = {
    fault.__name__: fault
    for fault in (
        not_adjusted,
        adjusted_twice,
        stale_dividend,
        pounds_among_pence,
        decimal_slip,
        slightly_wrong_close,
        zeros,
        missing_days,
        bar_of_a_sunday,
        a_day_late,
        lost_volumes,
        high_and_low_swapped,
        repeated_close,
        another_company_before,
    )
}


def tripled_in_a_day(bars: Bars) -> Bars:
    before, after = _half(bars)
    return [*before, *scaled(after, 3)]


def suspended_for_months(bars: Bars) -> Bars:
    return [*bars[: len(bars) // 3], *bars[2 * len(bars) // 3 :]]


def fractions_of_a_cent(bars: Bars) -> Bars:
    return scaled(bars, 1e-7)


def costs_a_fortune(bars: Bars) -> Bars:
    return scaled(bars, 5_000)


def without_volume(bars: Bars) -> Bars:
    return [replace(bar, volume=0) for bar in bars]


def never_moves(bars: Bars) -> Bars:
    first = bars[0]
    return [replace(first, date=bar.date) for bar in bars]


def without_opening_prices(bars: Bars) -> Bars:
    return [replace(bar, open=UNKNOWN) for bar in bars]


def spike_of_a_day(bars: Bars) -> Bars:
    return _replaced(bars, 40, *scaled(bars[40:41], 2))


def trades_on_weekends(bars: Bars) -> Bars:
    return [replace(bar, date=bars[0].date + place * DAY) for place, bar in enumerate(bars)]


def began_last_month(bars: Bars) -> Bars:
    return bars[-15:]


ODD: dict[str, Callable[[Bars], Bars]] = {
    odd.__name__: odd
    for odd in (
        tripled_in_a_day,
        suspended_for_months,
        fractions_of_a_cent,
        costs_a_fortune,
        without_volume,
        never_moves,
        without_opening_prices,
        spike_of_a_day,
        trades_on_weekends,
        began_last_month,
    )
}
