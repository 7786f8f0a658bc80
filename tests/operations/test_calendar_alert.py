"""Operators are warned before the calendar of an exchange ends."""

from datetime import timedelta

import pytest
from django.utils import timezone

from market.models import Stock, TradingSession
from operations.models import Alert
from operations.monitoring import alerts


@pytest.mark.django_db
@pytest.mark.parametrize(("exchange", "calendar"), [("NSI", "XBOM"), ("SES", "XSES")])
def test_the_calendar_of_a_fetched_stocks_exchange_ends(exchange, calendar):
    now = timezone.now()

    def keep_until(days: int) -> None:
        moment = now + timedelta(days=days)
        TradingSession.objects.create(calendar=calendar, opens_at=moment, closes_at=moment + timedelta(hours=6))

    def state_after(seconds: int) -> str | None:
        alerts.check(now + timedelta(seconds=seconds))
        return Alert.objects.filter(name="calendar-ends").values_list("state", flat=True).first()

    Stock.objects.create(symbol="ONE", exchange=exchange, checked_at=now)
    keep_until(50)
    assert [state_after(0), state_after(61)] == ["suspected", "raised"]
    assert Alert.objects.get(name="calendar-ends").text.startswith("1 exchange calendars end within two months")
    keep_until(80)
    assert [state_after(62), state_after(130)] == ["raised", "cleared"]


@pytest.mark.django_db
def test_calendars_that_go_on_are_no_alert():
    now = timezone.now()
    Stock.objects.create(symbol="ONE", exchange="NMS", checked_at=now)
    last = now + timedelta(days=100)
    TradingSession.objects.create(calendar="XNYS", opens_at=last, closes_at=last + timedelta(hours=6))
    alerts.check(now)
    assert not Alert.objects.filter(name="calendar-ends").exists()
