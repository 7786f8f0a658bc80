"""However a history is fetched, by charts and quotes on any days, it ends as the source's own."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from market.models import PriceBar, Stock
from market.prices.continuity import Continuity, NoContinuity
from market.prices.store import store_histories, store_history
from market.sources.base import Bar, History, Quote

DAY = timedelta(days=1)
FIRST = date(2026, 1, 1)
CHART = 30
"""The days of an ordinary chart."""
SETTLED_EVERY = 14
"""A chart comes at least this often."""
LATEST_CORRECTION = 10
"""A source corrects a close up to so many days later."""


@dataclass
class Source:
    """Closes of consecutive days as traded, and what changes earlier closes afterwards. Days are numbers."""

    closes: list[float]
    splits: dict[int, float] = field(default_factory=dict)
    dividends: dict[int, float] = field(default_factory=dict)
    """By the first day without the dividend: which part of the price was paid."""
    corrections: dict[int, tuple[int, float]] = field(default_factory=dict)
    """By the corrected day: the day of the correction, and the factor of the right close."""
    gaps: set[int] = field(default_factory=set)

    def bars(self, first: int, today: int, *, is_over: bool) -> list[Bar]:
        """The bars as the source has them at the end of a day, or during the day."""
        return [self._bar(day, today, is_over) for day in range(max(0, first), today + 1) if day not in self.gaps]

    def history(self, symbol: str, first: int, today: int, *, is_over: bool) -> History:
        bars = self.bars(first, today, is_over=is_over)
        days = {(FIRST + day * DAY) for day in (*self.splits, *self.dividends) if max(0, first) <= day <= today}
        actions = tuple(sorted(day for day in days if bars[0].date <= day <= bars[-1].date))
        return History(symbol, "yahoo_finance", bars, exchange="CCC", currency="USD", actions=actions, begins=FIRST)

    def quote(self, symbol: str, today: int, *, is_over: bool) -> Quote:
        *_, before, newest = self.bars(0, today, is_over=is_over)
        at = datetime.combine(newest.date, time(12), UTC)
        bar = newest._replace(adj_close=newest.close)
        return Quote(symbol, "yahoo_finance", at, bar, before.close, is_traded=True, exchange="CCC", currency="USD")

    def _bar(self, day: int, today: int, is_over: bool) -> Bar:
        close = self.closes[day]
        if day == today and not is_over:
            close *= 1.01
        corrected = self.corrections.get(day)
        if corrected and corrected[0] <= today:
            close *= corrected[1]
        for split, ratio in self.splits.items():
            if day < split <= today:
                close /= ratio
        adjusted = close
        for paid, part in self.dividends.items():
            if day < paid <= today:
                adjusted *= 1 - part
        return Bar(FIRST + day * DAY, close, close * 1.02, close * 0.98, close, adjusted, 1_000)


@st.composite
def sources(draw: st.DrawFn) -> Source:
    length = draw(st.integers(20, 120))
    moves = draw(st.lists(st.floats(0.95, 1.05), min_size=length, max_size=length))
    closes = [100.0]
    for move in moves[1:]:
        closes.append(closes[-1] * move)
    days = st.integers(3, length - 1)
    splits = draw(st.dictionaries(days, st.sampled_from([2.0, 3.0, 0.1]), max_size=2))
    dividends = draw(st.dictionaries(days, st.floats(0.005, 0.05), max_size=3))
    gaps = draw(st.sets(st.integers(2, length - 2), max_size=5)) - splits.keys() - dividends.keys()
    corrections = {
        day: (min(length - 1, day + draw(st.integers(1, LATEST_CORRECTION))), draw(st.floats(0.9, 0.99)))
        for day in draw(st.sets(st.integers(1, length - 2), max_size=3)) - gaps
    }
    return Source(closes, splits, dividends, corrections, gaps)


def fetch_chart(source: Source, today: int, *, is_over: bool) -> None:
    moment = datetime.combine(FIRST + today * DAY, time(23), UTC)
    stored = store_history(source.history("S", today - CHART, today, is_over=is_over), moment)
    if stored.outdated_from:
        first = (stored.outdated_from - FIRST).days
        again = source.history("S", first, today, is_over=is_over)
        store_history(again, moment, asked_from=stored.outdated_from, replace=True)


def fetch_quote(source: Source, today: int, *, is_over: bool) -> None:
    """As a fetch does: the quote where it continues the stored bars, and the chart otherwise."""
    moment = datetime.combine(FIRST + today * DAY, time(23), UTC)
    stock = Stock.objects.get()
    continuity = Continuity.of([stock], moment)
    try:
        if continuity.why_none_can(stock):
            raise NoContinuity
        history = continuity.continued(stock, source.quote("S", today, is_over=is_over))
    except NoContinuity:
        fetch_chart(source, today, is_over=is_over)
    else:
        store_history(history, moment)


@pytest.mark.django_db
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_order_of_charts_and_quotes_ends_with_the_sources_history(data):
    source = data.draw(sources())
    PriceBar.objects.all().delete()
    Stock.objects.all().delete()
    Stock.objects.create(symbol="S")
    last = len(source.closes) - 1
    today, charted = data.draw(st.integers(1, last)), 0
    fetch_chart(source, today, is_over=True)
    charted = today
    while today < last:
        is_over = data.draw(st.booleans())
        today = min(last, today + data.draw(st.integers(0 if is_over else 1, 9)))
        if today in source.gaps:
            today += 1
        if today - charted > SETTLED_EVERY or data.draw(st.booleans()):
            fetch_chart(source, today, is_over=is_over)
            charted = today
        else:
            fetch_quote(source, today, is_over=is_over)
    fetch_chart(source, last, is_over=True)
    first = PriceBar.objects.order_by("date").values_list("date", flat=True)[0]
    expected = source.bars((first - FIRST).days, last, is_over=True)
    stored = list(PriceBar.objects.order_by("date").values_list("date", "close", "adj_close"))
    assert [day for day, *_ in stored] == [bar.date for bar in expected]
    for (day, close, adj_close), bar in zip(stored, expected, strict=True):
        assert close == pytest.approx(bar.close, rel=1e-6), day
        assert adj_close == pytest.approx(bar.adj_close, rel=1e-6), day


def bars_of(symbol: str, prices: Sequence[float]) -> list[Bar]:
    return [Bar(FIRST + day * DAY, price, price, price, price, price, 1) for day, price in enumerate(prices)]


@pytest.mark.django_db
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.lists(st.floats(0.01, 1e6), min_size=1, max_size=40), min_size=2, max_size=6),
    st.lists(st.floats(-1e14, 1e14), min_size=1, max_size=40),
)
def test_a_member_with_odd_prices_changes_no_other_member(others, odd):
    PriceBar.objects.all().delete()
    Stock.objects.all().delete()
    now = datetime(2026, 6, 1, tzinfo=UTC)
    histories = [History(f"S{number}", "yahoo_finance", bars_of("S", prices)) for number, prices in enumerate(others)]
    Stock.objects.bulk_create(Stock(symbol=history.symbol) for history in histories)
    store_histories(histories, now)
    alone = {name: value for name, *value in Stock.objects.values_list("symbol", "volatility", "last_bar_on")}
    marks = list(PriceBar.objects.order_by("stock", "date").values_list("stock__symbol", "date", "is_suspicious"))
    PriceBar.objects.all().delete()
    Stock.objects.all().delete()
    odd_one = History("ODD", "yahoo_finance", bars_of("ODD", odd))
    Stock.objects.bulk_create(Stock(symbol=history.symbol) for history in (odd_one, *histories))
    store_histories([odd_one, *histories], now)
    told = Stock.objects.exclude(symbol="ODD").values_list("symbol", "volatility", "last_bar_on")
    assert {name: value for name, *value in told} == alone
    rest = PriceBar.objects.exclude(stock__symbol="ODD").order_by("stock", "date")
    assert list(rest.values_list("stock__symbol", "date", "is_suspicious")) == marks
