"""Yahoo refuses the cookie or the crumb: charts come without, and fundamentals wait."""

import pytest
import time_machine
from django.utils import timezone

from market.models import SourceState
from market.sources.base import SourceBusy
from market.sources.budget import Budget
from market.sources.yahoo.source import YahooFinance
from tests.support.standins.yahoo import COOKIE, CRUMB_PATH, daily_bars
from tests.support.yahoo_histories import SINCE, six_values


@pytest.fixture
def counted(without_crumb, db, configured) -> YahooFinance:
    """A source that counts its requests in the database, and pauses for a minute, and then for an hour."""
    configured(**{"stock_jobs.data_fetch.cooldown": [60, 3600]})
    return YahooFinance(Budget("yahoo_finance"))


def asked_for_crumbs(yahoo) -> int:
    return sum(request.path == CRUMB_PATH or request.host == "fc.yahoo.com" for request in yahoo.server.requests)


@pytest.mark.parametrize("how", ["rate_limited", "blocked", "refused_with_200"])
@pytest.mark.parametrize("what", [CRUMB_PATH, COOKIE])
def test_a_refused_cookie_or_crumb_is_not_asked_for_again_and_stops_no_chart(yahoo, counted, symbol, how, what):
    yahoo.misbehave(how, what)
    before = asked_for_crumbs(yahoo)
    asked = []
    for _ in range(3):
        assert six_values(counted.history(symbol, SINCE).bars) == six_values(daily_bars(symbol, 25))
        asked.append(asked_for_crumbs(yahoo) - before)
    assert asked[0] == asked[1] == asked[2] > 0
    assert not SourceState.objects.exclude(cooldown_until=None).exists()


def test_fundamentals_wait_for_the_crumb_and_cost_nothing_meanwhile(yahoo, counted, symbol):
    yahoo.serve_fundamentals(symbol)
    yahoo.misbehave("rate_limited", CRUMB_PATH)
    before = len(yahoo.server.summary_requests())
    with pytest.raises(SourceBusy) as busy:
        counted.fundamentals(symbol)
    refused, again = str(busy.value).split("; ")
    assert refused == "Yahoo Finance refused the crumb that fundamentals need"
    assert again == f"the next attempt is at {busy.value.until:%H:%M:%S} UTC"
    assert len(yahoo.server.summary_requests()) == before


def test_a_refused_crumb_is_asked_for_after_a_pause_that_grows_and_follows_retry_after(yahoo, counted, symbol):
    yahoo.serve_fundamentals(symbol)
    pauses = []
    now = timezone.now()
    for retry_after in (None, None, 7):
        yahoo.misbehave("rate_limited", CRUMB_PATH, retry_after=retry_after)
        with time_machine.travel(now, tick=False), pytest.raises(SourceBusy) as busy:
            counted.fundamentals(symbol)
        pauses.append((busy.value.until - now).total_seconds())
        now = busy.value.until
    assert pauses == [60, 3600, 7]
    yahoo.server.behave(CRUMB_PATH)
    with time_machine.travel(now, tick=False):
        assert counted.fundamentals(symbol).market_cap
