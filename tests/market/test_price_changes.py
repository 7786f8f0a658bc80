"""Rooms above learn of changed prices in the transaction that stored them, and cannot fail it."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from market.calendar.sessions import LatestSessions, latest_sessions
from market.models import BarDecision, PriceBar, SecurityNumber, Stock, TradingSession
from market.prices import changes
from market.prices.decisions import decide
from market.prices.store import store_histories
from market.sources.base import History
from tests.support.prices import flat_bars

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)


@pytest.fixture
def watchers(monkeypatch: pytest.MonkeyPatch) -> list[changes.Watcher]:
    """The registered watchers: none, and what the test adds."""
    watchers: list[changes.Watcher] = []
    monkeypatch.setattr(changes, "_watchers", watchers)
    return watchers


@pytest.fixture
def told(watchers: list[changes.Watcher]) -> list[list[str]]:
    """The symbols of each call."""
    told: list[list[str]] = []
    changes.watch_prices(lambda stocks: told.append([stock.symbol for stock in stocks]))
    return told


def history(symbol: str, *closes: float) -> History:
    """Daily closes until yesterday."""
    Stock.objects.get_or_create(symbol=symbol)
    first = timezone.now().date() - len(closes) * DAY
    bars = flat_bars([first + number * DAY for number in range(len(closes))], closes)
    return History(symbol, "yahoo_finance", bars, exchange="CCC", currency="USD")


def test_a_store_tells_the_stocks_with_changed_bars_once(told):
    aapl, msft = history("AAPL", 1, 2, 3), history("MSFT", 5, 6)
    store_histories([aapl, msft], timezone.now())
    assert told == [["AAPL", "MSFT"]]
    store_histories([aapl, history("MSFT", 5, 7)], timezone.now())
    assert told[1:] == [["MSFT"]]
    store_histories([aapl], timezone.now())
    assert len(told) == 2


def test_a_watcher_sees_what_was_stored(watchers):
    seen: list[tuple[float, str]] = []

    def look(stocks: Sequence[Stock]) -> None:
        for stock in stocks:
            seen.append((stock.bars.latest("date").close, Stock.objects.get(pk=stock.pk).exchange))

    changes.watch_prices(look)
    store_histories([history("AAPL", 1, 2, 3)], timezone.now())
    assert seen == [(3, "CCC")]


def test_a_persons_decision_about_a_bar_is_told(told):
    store_histories([history("AAPL", *[100] * 5, 200)], timezone.now())
    decide(PriceBar.objects.get(is_suspicious=True), BarDecision.Kind.ACCEPTED, "operator")
    assert told == [["AAPL"], ["AAPL"]]


def test_a_watcher_that_fails_loses_its_writes_and_the_bars_stay(watchers, told, caplog):
    def fail(_stocks: Sequence[Stock]) -> None:
        SecurityNumber.objects.create(number="1", symbol="A")
        with pytest.raises(IntegrityError), transaction.atomic():
            SecurityNumber.objects.create(number="1", symbol="A")
        SecurityNumber.objects.create(number="1", symbol="A")

    watchers.insert(0, fail)
    store_histories([history("AAPL", 1, 2, 3)], timezone.now())
    assert PriceBar.objects.count() == 3
    assert not SecurityNumber.objects.exists()
    assert told == [["AAPL"]]
    assert "changed prices of AAPL: fail failed" in caplog.text


def test_a_watcher_is_registered_once(watchers):
    changes.watch_prices(print)
    changes.watch_prices(print)
    assert watchers == [print]


MONDAY = datetime(2026, 3, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "begun", "ended"),
    [
        (MONDAY.replace(hour=13), date(2026, 3, 6), date(2026, 3, 6)),
        (MONDAY.replace(hour=14), date(2026, 3, 9), date(2026, 3, 6)),
        (MONDAY.replace(hour=20), date(2026, 3, 9), date(2026, 3, 9)),
        (MONDAY - DAY, date(2026, 3, 6), date(2026, 3, 6)),
    ],
)
def test_the_latest_sessions_of_an_exchange_are_of_its_calendar(now, begun, ended, django_assert_num_queries):
    TradingSession.objects.filter(calendar="XNYS").delete()
    for days in (-7, -3, 0, 1):
        day = MONDAY + days * DAY
        TradingSession.objects.create(
            calendar="XNYS", opens_at=day.replace(hour=13, minute=30), closes_at=day.replace(hour=20)
        )
    with django_assert_num_queries(1):
        assert latest_sessions(now, ["NMS", "NYQ"]) == dict.fromkeys(("NMS", "NYQ"), LatestSessions(begun, ended))


def test_without_a_calendar_yesterday_counts_as_the_last_session(django_assert_num_queries):
    sunday, saturday = date(2026, 3, 8), date(2026, 3, 7)
    with django_assert_num_queries(0):
        found = latest_sessions(MONDAY - timedelta(hours=1), ["CCC", "DFM"])
    assert found == {"CCC": LatestSessions(sunday, saturday), "DFM": LatestSessions(saturday, saturday)}
