"""Exchanges' calendars as years go by: some end, some fail for years in between, and a process may live for years."""

from datetime import UTC, date, datetime, timedelta

import pandas as pd
import pytest
from django.utils import timezone
from exchange_calendars.calendar_utils import global_calendar_dispatcher

from market.calendar import exchange_calendars
from market.calendar.exchange_calendars import session_days
from market.calendar.exchange_calendars import sessions as sessions_of
from market.calendar.exchanges import EXCHANGES
from market.calendar.sessions import ends_of_calendars, keep_sessions
from market.freshness import Freshness
from market.jobs.requests import request_batches
from market.models import Stock, TradingSession
from market.prices.gaps import count_missing_days
from tasks.models import Job
from tasks.running.execute import run_job

DAYS = [datetime.now(UTC).date(), date(2027, 1, 5), date(2027, 3, 15), date(2028, 2, 29)]
"""The last one is more than a year after this process began."""
END_WITH_2026 = {"NSI": "XBOM", "SES": "XSES", "SHH": "XSHG"}
CALENDARS = sorted({exchange.calendar for exchange in EXCHANGES if exchange.calendar})
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def ends(monkeypatch) -> None:
    """These calendars end where they do today, whatever a later exchange_calendars knows."""
    exchange_calendars._load_months.cache_clear()
    for calendar in END_WITH_2026.values():
        kind = global_calendar_dispatcher._calendar_factories[calendar]
        monkeypatch.setattr(kind, "bound_max", staticmethod(lambda: pd.Timestamp("2026-12-31")))


def stock(exchange: str, checked_at: str) -> Stock:
    moment = datetime.fromisoformat(checked_at).replace(tzinfo=UTC)
    return Stock(symbol="X", exchange=exchange, source="yahoo_finance", checked_at=moment, last_bar_on=moment.date())


def is_stale(one: Stock) -> bool:
    return Freshness.of([one], timezone.now()).is_stale(one)


@pytest.mark.parametrize("calendar", CALENDARS)
def test_every_calendar_answers_just_after_the_end_of_some_and_a_year_later(travel, calendar):
    for day in (DAYS[1], DAYS[-1]):
        now, first = travel(f"{day} 12:00"), day - 15 * DAY
        assert all(first <= opens.date() <= day for opens, _ in sessions_of(calendar, now - 15 * DAY, now))
        assert 6 <= len(session_days(calendar, first, day)) <= 14


@pytest.mark.django_db
@pytest.mark.parametrize("day", DAYS, ids=str)
@pytest.mark.parametrize("exchange", ["TLV", "NMS", "LSE", *END_WITH_2026])
def test_sessions_are_written_down_and_missing_days_counted_on_every_day(travel, exchange, day):
    now = travel(f"{day} 12:00")
    keep_sessions(exchange)
    known = TradingSession.objects.filter(opens_at__gt=now + 50 * DAY).exists()
    assert known == (exchange not in END_WITH_2026)
    assert count_missing_days([stock(exchange, "2026-11-27 12:00")], day - 40 * DAY, day, now)["X"] > 20


@pytest.mark.django_db
def test_a_calendar_is_used_up_to_its_end_and_then_the_limit_counts_alone(travel):
    travel("2026-12-26 12:00")  # a Saturday
    keep_sessions("NSI")
    assert TradingSession.objects.latest("opens_at").opens_at.date() == date(2026, 12, 31)
    assert not is_stale(stock("NSI", "2026-12-25 12:00"))
    travel("2027-01-09 12:00")  # another
    keep_sessions("NSI")
    assert is_stale(stock("NSI", "2027-01-08 12:00"))
    assert not is_stale(stock("NSI", "2027-01-09 11:45"))


def test_after_the_end_of_a_calendar_monday_to_friday_are_taken_for_sessions():
    days = session_days("XSHG", date(2026, 12, 30), date(2027, 1, 5))
    assert [day for day, _ in days] == [date(2026, 12, 30), date(2026, 12, 31), *in_january(1, 4, 5)]
    assert days[1][1] == datetime(2026, 12, 31, 7, tzinfo=UTC)
    assert days[-1][1] == datetime(2027, 1, 6, tzinfo=UTC)


def in_january(*days: int) -> list[date]:
    return [date(2027, 1, day) for day in days]


def test_a_calendar_that_fails_leaves_monday_to_friday_and_says_so_once(monkeypatch, caplog):
    def fail(*_asked: object, **_range: object) -> None:
        raise ValueError("Special dates are not sessions.")

    monkeypatch.setattr(exchange_calendars, "get_calendar", fail)
    for _ in range(2):
        days = session_days("XTAE", date(2027, 1, 1), date(2027, 1, 5))
        assert [day for day, _ in days] == in_january(1, 4, 5)
    assert [record.message for record in caplog.records] == [
        "the calendar XTAE could not be loaded from 2027-01-01 to 2027-12-31: Special dates are not sessions."
    ]


@pytest.mark.parametrize("first", [date(2015, 1, 1), date(2025, 12, 30), date(2026, 1, 1), date(2026, 10, 5)], ids=str)
def test_tel_avivs_past_can_be_asked_for(first):
    assert session_days("XTAE", first, date(2026, 11, 20))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("day", [date(2027, 1, 5), date(2027, 3, 15)], ids=str)
def test_a_batch_stores_a_stock_whose_calendar_has_ended_with_the_others(travel, yahoo, day):
    travel(f"{day} 12:00")
    exchanges = {"AAPL": "NMS", "RELIANCE.NS": "NSI", "TEVA.TA": "TLV", "600519.SS": "SHH"}
    for symbol, exchange in exchanges.items():
        yahoo.serve(symbol, exchange=exchange)
    (job,) = request_batches(Stock.objects.find_or_create(list(exchanges)), Job.Trigger.SCHEDULED_UPDATE).created
    result = run_job(job.pk, "worker")
    assert result
    assert {symbol for symbol, one in result["results"].items() if one["success"]} == set(exchanges)
    stored = Stock.objects.filter(bars__date__gt=day - 5 * DAY).distinct()
    assert {one.symbol: one.exchange for one in stored} == exchanges


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("exchange", "expected"), [("NSI", {"XBOM": 46}), ("NMS", {"XNYS": 119}), ("KUW", {}), ("CCC", {})]
)
def test_the_last_known_session_tells_which_calendar_ends(travel, exchange, expected):
    now = travel("2026-11-15 12:00")
    keep_sessions(exchange)
    Stock.objects.create(symbol="ONE", exchange=exchange, checked_at=now)
    left = {calendar: (end - now).days for calendar, end in ends_of_calendars(now).items()}
    assert left.keys() == expected.keys()
    assert all(abs(left[calendar] - days) <= 4 for calendar, days in expected.items())
    Stock.objects.update(checked_at=now - 3 * DAY)
    assert ends_of_calendars(now) == {}
