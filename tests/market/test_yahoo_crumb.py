"""Yahoo refuses the cookie or the crumb: charts come without, and fundamentals wait."""

from collections.abc import Callable
from datetime import timedelta

import pytest
import time_machine
from django.utils import timezone
from django.utils.module_loading import import_string

from market.models import SourceState
from market.sources.base import Quote, RateLimited, SourceBusy
from market.sources.budget import Budget
from market.sources.yahoo.crumb import LASTS, SharedCrumb, is_crumb
from market.sources.yahoo.source import YahooFinance
from tests.support.standins.yahoo import COOKIE, CRUMB_PATH, QUOTES, daily_bars
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


@pytest.fixture
def as_a_new_process(monkeypatch) -> Callable[[], YahooFinance]:
    """as_a_new_process(): a source whose yfinance knows no crumb yet; the files of the machine are there."""

    def as_a_new_process() -> YahooFinance:
        data = import_string("yfinance.data.YfData")
        for name, value in {"_cookie": None, "_crumb": None, "_cookie_strategy": "basic"}.items():
            monkeypatch.setattr(data(), name, value)
        return YahooFinance()

    return as_a_new_process


def crumbs_asked_for(yahoo) -> int:
    return sum(request.path == CRUMB_PATH for request in yahoo.server.requests)


def test_processes_of_a_machine_share_a_crumb(yahoo, without_crumb, as_a_new_process, symbol, settings):
    before = crumbs_asked_for(yahoo)
    for _ in range(3):
        assert isinstance(as_a_new_process().quotes([symbol])[symbol], Quote)
    assert crumbs_asked_for(yahoo) - before == 1
    file = settings.VAR / "yfinance" / "crumb.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert "d=stand-in" not in file.read_text()  # the cookie is not in it


def test_a_shared_crumb_is_renewed_before_yahoo_refuses_it(yahoo, without_crumb, as_a_new_process, symbol):
    as_a_new_process().quotes([symbol])
    before = crumbs_asked_for(yahoo)
    with time_machine.travel(timezone.now() + timedelta(seconds=LASTS + 1)):
        as_a_new_process().quotes([symbol])
    assert crumbs_asked_for(yahoo) - before == 1


def test_a_crumb_that_was_fetched_ahead_serves_all_processes(yahoo, without_crumb, as_a_new_process, symbol):
    as_a_new_process().prepare()
    before = crumbs_asked_for(yahoo)
    assert isinstance(as_a_new_process().quotes([symbol])[symbol], Quote)
    assert crumbs_asked_for(yahoo) == before


def test_a_crumb_is_renewed_ahead_and_not_more_often(yahoo, without_crumb, as_a_new_process):
    source = as_a_new_process()
    asked = []
    for hours in (0, 1, 5, 5.6, 6, 11):
        with time_machine.travel(timezone.now() + timedelta(hours=hours)):
            before = crumbs_asked_for(yahoo)
            source.prepare()
            asked.append(crumbs_asked_for(yahoo) - before)
    assert asked == [1, 0, 0, 1, 0, 0]


def test_a_refused_crumb_is_not_asked_for_ahead_during_the_pause(yahoo, counted, caplog):
    yahoo.misbehave("rate_limited", CRUMB_PATH)
    with pytest.raises(RateLimited):
        counted.prepare()
    before = len(yahoo.server.requests)
    counted.prepare()
    assert len(yahoo.server.requests) == before


def test_a_refused_crumb_is_not_shared_any_more(yahoo, without_crumb, as_a_new_process, symbol):
    as_a_new_process().quotes([symbol])
    yahoo.misbehave("unauthorized", QUOTES, times=1)
    before = crumbs_asked_for(yahoo)
    assert isinstance(as_a_new_process().quotes([symbol])[symbol], Quote)
    assert crumbs_asked_for(yahoo) - before == 1


def test_a_page_in_place_of_a_crumb_is_not_kept(yahoo, without_crumb, as_a_new_process, symbol):
    yahoo.misbehave("html", CRUMB_PATH)
    source = as_a_new_process()
    with pytest.raises(SourceBusy, match="refused the crumb that quotes need"):
        source.quotes([symbol])
    yahoo.server.behave(CRUMB_PATH)
    with time_machine.travel(timezone.now() + timedelta(hours=1)):
        assert isinstance(source.quotes([symbol])[symbol], Quote)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"cookie": 1}', '{"cookie": "x", "at": "now", "crumb": "abc"}'])
def test_a_damaged_file_means_that_a_crumb_is_asked_for(content, tmp_path):
    file = tmp_path / "crumb.json"
    file.write_text(content)
    crumb = SharedCrumb(file)
    assert crumb.read("cookie") is None
    crumb.write("cookie", "aBc.1/23")
    assert crumb.read("cookie") == "aBc.1/23"
    assert crumb.read("another cookie") is None
    crumb.forget()
    crumb.forget()
    assert crumb.read("cookie") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [("aBc.1/23xyz", True), ("", False), ("<html></html>", False), ("Too Many Requests", False), ("x" * 65, False)],
)
def test_a_crumb_is_one_short_word(text, expected):
    assert is_crumb(text) is expected
