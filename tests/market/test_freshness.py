"""What is fresh while exchanges trade, after their close, on weekends and on holidays."""

import itertools
from datetime import UTC, date, datetime, timedelta

import pytest
from django.utils import timezone

from market.calendar import sessions
from market.calendar.exchange_calendars import sessions as sessions_of
from market.calendar.exchanges import EXCHANGES, NOT_KNOWN, exchange_of
from market.calendar.sessions import keep_sessions
from market.freshness import STATES, Freshness
from market.jobs.requests import request_batches, request_fetches
from market.models import PriceBar, Stock, TradingSession
from portfolio.models import Holding, Portfolio
from stockqueue.config.jobs import FreshnessSchedule
from tasks.models import Job
from tasks.running.execute import run_job

pytestmark = pytest.mark.django_db


def at(moment: str) -> datetime:
    return datetime.fromisoformat(moment).replace(tzinfo=UTC)


def write_sessions(calendar: str, first: str, last: str) -> None:
    TradingSession.objects.bulk_create(
        TradingSession(calendar=calendar, opens_at=opens_at, closes_at=closes_at)
        for opens_at, closes_at in sessions_of(calendar, at(first), at(last))
    )


@pytest.fixture
def thanksgiving(db: None) -> None:
    """New York closes on Wednesday 2026-11-25 at 21:00 UTC, opens on Friday for half a day, then on Monday."""
    write_sessions("XNYS", "2026-11-15", "2026-12-10")


def stock(
    checked_at: str, exchange: str = "NMS", source: str = "yahoo_finance", last_bar_on: str | None = None
) -> Stock:
    """A stock whose newest bar is of the day of its check, or of another day."""
    checked = at(checked_at)
    day = date.fromisoformat(last_bar_on) if last_bar_on else checked.date()
    return Stock(symbol="AAPL", exchange=exchange, source=source, checked_at=checked, last_bar_on=day)


def is_stale(one: Stock, now: str) -> bool:
    return Freshness.of([one], at(now)).is_stale(one)


@pytest.mark.parametrize(
    ("checked_at", "now", "stale"),
    [
        ("2026-11-24 15:00", "2026-11-24 15:29", False),  # a Tuesday at noon in New York
        ("2026-11-24 15:00", "2026-11-24 15:30", True),
        ("2026-11-24 21:30", "2026-11-24 22:30", True),  # half an hour after the close may have been too early
        ("2026-11-24 22:00", "2026-11-25 14:29", False),  # an hour after it was not; until the next opening
        ("2026-11-24 22:00", "2026-11-25 14:30", True),
        ("2026-11-25 22:00", "2026-11-27 14:29", False),  # Thanksgiving
        ("2026-11-25 22:00", "2026-11-27 14:31", True),
        ("2026-11-27 19:00", "2026-11-30 14:29", False),  # the half day ends at 18:00, and the weekend follows
        ("2026-11-27 18:59", "2026-11-28 12:00", True),
        ("2026-11-26 12:00", "2026-11-26 12:10", False),  # closed, and within the limit anyway
    ],
)
def test_what_was_checked_an_hour_after_the_close_is_fresh_until_the_next_opening(
    thanksgiving, checked_at, now, stale
):
    assert is_stale(stock(checked_at), now) == stale


def test_summer_time_moves_the_close():
    write_sessions("XNYS", "2026-03-01", "2026-03-20")
    assert is_stale(stock("2026-03-06 21:30"), "2026-03-06 23:00")  # closed at 21:00
    assert not is_stale(stock("2026-03-09 21:00"), "2026-03-09 23:00")  # on the next trading day at 20:00


def test_each_stock_follows_its_own_exchange(thanksgiving):
    write_sessions("XTKS", "2026-11-15", "2026-12-10")
    stocks = [stock("2026-11-24 22:30", exchange) for exchange in ("NMS", "JPX", "CCC")]
    freshness = Freshness.of(stocks, at("2026-11-25 03:30"))  # half past noon in Tokyo
    assert [freshness.is_stale(one) for one in stocks] == [False, True, True]


@pytest.mark.parametrize("exchange", ["", "XYZ", "KUW"])
def test_only_the_limit_counts_for_an_exchange_that_is_not_known(thanksgiving, configure, exchange):
    one = stock("2026-11-24 22:00", exchange)
    assert not is_stale(one, "2026-11-24 22:29")
    assert is_stale(one, "2026-11-24 22:30")
    configure(**{"portfolio.freshness_schedule": FreshnessSchedule()})
    for day in ("2026-11-27", "2026-11-28", "2026-11-29"):  # around the Gulf, Sunday is a day of trading
        now = at(f"{day} 12:00")
        assert Freshness.of([one], now).limit_of(one) == timedelta(minutes=FreshnessSchedule().market_open)


@pytest.mark.parametrize(("exchange", "calendar"), [("NMS", "XNYS"), ("ATH", "ASEX"), ("JPX", "XTKS")])
def test_a_stock_without_a_bar_of_the_last_session_is_asked_for_less_and_less_often(exchange, calendar):
    write_sessions(calendar, "2026-11-15", "2026-12-10")
    now = at("2026-11-28 12:00")  # a Saturday
    (closed,) = TradingSession.objects.filter(closes_at__lt=now).order_by("-closes_at")[:1]
    intervals = []
    checked = closed.closes_at + timedelta(hours=1)
    while checked < closed.closes_at + timedelta(hours=48):
        one = stock(f"{checked:%Y-%m-%d %H:%M}", exchange, last_bar_on="2026-11-26")
        assert Freshness.of([one], checked + timedelta(minutes=29)).closed_since(one) is None
        minutes = next(
            wait for wait in range(1, 3_000) if Freshness.of([one], checked + timedelta(minutes=wait)).is_stale(one)
        )
        intervals.append(minutes)
        checked += timedelta(minutes=minutes)
    assert intervals[0] in (30, 31)
    assert intervals == sorted(intervals)
    assert len(intervals) <= 12
    assert intervals[-1] > 8 * 60


def test_a_fund_is_stale_until_the_price_of_the_day_comes_in_the_evening(thanksgiving):
    before = stock("2026-11-24 22:10", "NAS", last_bar_on="2026-11-23")
    assert is_stale(before, "2026-11-25 02:00")
    priced = stock("2026-11-25 02:00", "NAS", last_bar_on="2026-11-24")
    assert not is_stale(priced, "2026-11-25 14:29")


@pytest.mark.parametrize(
    ("exchange", "calendar", "now", "day"),
    [
        ("NMS", "XNYS", "2026-11-28 12:00", "2026-11-27"),
        ("CCY", "24/5", "2026-11-28 12:00", "2026-11-27"),  # closes at midnight, as Saturday begins
        ("NYM", "CMES", "2026-11-28 12:00", "2026-11-27"),
        ("ASX", "XASX", "2026-11-27 12:00", "2026-11-27"),
        ("TLV", "XTAE", "2026-11-28 12:00", "2026-11-27"),
    ],
)
def test_the_bar_of_the_last_session_settles_a_stock(exchange, calendar, now, day):
    write_sessions(calendar, "2026-11-15", "2026-12-10")
    newest, older = (stock("2026-11-28 11:00", exchange, last_bar_on=one) for one in (day, "2026-11-24"))
    for one in (newest, older):
        one.checked_at = at(now) - timedelta(minutes=29)
    freshness = Freshness.of([newest, older], at(now))
    assert freshness.closed_since(newest) is not None
    assert freshness.closed_since(older) is None


def test_only_the_limit_counts_while_nobody_knows_when_an_exchange_trades():
    assert is_stale(stock("2026-11-28 12:00"), "2026-11-28 12:30")
    write_sessions("XNYS", "2026-11-15", "2026-11-28")  # and nothing that follows
    assert is_stale(stock("2026-11-28 12:00"), "2026-11-28 12:30")


def test_a_stock_that_no_source_has_had_anything_for_is_asked_for_again(thanksgiving):
    assert is_stale(stock("2026-11-28 12:00", source=""), "2026-11-28 12:30")


def test_what_comes_hours_after_the_close_is_asked_for_again(thanksgiving):
    assert is_stale(stock("2026-11-24 22:00", source="alpha_vantage"), "2026-11-24 22:30")


def test_freshness_takes_one_query_however_many_stocks(thanksgiving, django_assert_num_queries):
    stocks = [stock("2026-11-24 22:00", exchange) for exchange in ("NMS", "LSE", "GER", "CCY", "CCC") * 20]
    with django_assert_num_queries(1):
        freshness = Freshness.of(stocks, at("2026-11-25 12:00"))
        assert sum(map(freshness.is_stale, stocks)) == 80


@pytest.mark.parametrize("schedule", [None, {"market_open": 7, "market_closed": 90, "weekend": 3_000}])
@pytest.mark.parametrize(
    "now",
    ["2026-11-24 15:00", "2026-11-24 21:45", "2026-11-24 22:30", "2026-11-26 15:00", "2026-11-28 12:00.000001"],
)
def test_the_database_finds_the_same_state_as_python(thanksgiving, configured, now, schedule):
    configured(**{"portfolio.freshness_schedule": schedule})
    write_sessions("XTKS", "2026-11-15", "2026-12-10")
    moment = at(now)
    around = [moment - age for age in (timedelta(minutes=minutes) for minutes in (7, 30, 90, 3_000))]
    around += [at(text) for text in ("2026-11-20 22:00", "2026-11-23 22:00", "2026-11-24 07:00", "2026-11-25 22:00")]
    tick = timedelta(microseconds=1)
    checks = [None, *(one + shift for one in around for shift in (-tick, timedelta(), tick))]
    last_bars = [None, *(moment.date() - timedelta(days=days) for days in range(4))]
    kinds = itertools.product(
        ("", "NMS", "JPX", "LSE", "CCC", "CCY"),
        ("", "yahoo_finance", "alpha_vantage"),
        ("active", "delisted"),
        last_bars,
        checks,
    )
    Stock.objects.bulk_create(
        Stock(
            symbol=f"S{number}", exchange=exchange, source=source, status=status, last_bar_on=day, checked_at=checked
        )
        for number, (exchange, source, status, day, checked) in enumerate(kinds)
    )
    rule = Freshness.of_all(moment)
    stocks = list(Stock.objects.annotate(state=rule.state_in_sql()))
    assert {stock.pk: stock.state for stock in stocks} == {stock.pk: rule.state_of(stock) for stock in stocks}
    assert {rule.state_of(stock) for stock in stocks} == set(STATES)


def test_without_any_stock_there_is_no_state_to_find(django_assert_num_queries):
    with django_assert_num_queries(2):
        assert list(Stock.objects.annotate(state=Freshness.of_all(timezone.now()).state_in_sql())) == []


@pytest.mark.parametrize(
    ("exchange", "now", "minutes"),
    [
        ("NMS", "2026-11-24 15:00", 5),
        ("NMS", "2026-11-24 23:00", 60),
        ("NMS", "2026-11-26 15:00", 720),  # a holiday has no trading either
        ("NMS", "2026-11-28 15:00", 720),
        ("CCC", "2026-11-28 15:00", 5),
        ("LSE", "2026-11-28 15:00", 720),  # London's sessions are not written down here
        ("LSE", "2026-11-24 03:00", 5),
    ],
)
def test_a_schedule_has_a_limit_for_each_state_of_the_exchange(thanksgiving, configure, exchange, now, minutes):
    configure(**{"portfolio.freshness_schedule": FreshnessSchedule()})
    one = stock("2026-11-24 12:00", exchange)
    assert Freshness.of([one], at(now)).limit_of(one) == timedelta(minutes=minutes)


def test_a_schedule_does_not_make_anybody_ask_for_what_cannot_have_changed(thanksgiving, configure):
    configure(**{"portfolio.freshness_schedule": FreshnessSchedule(weekend=0)})
    assert not is_stale(stock("2026-11-27 19:00"), "2026-11-28 15:00")


# Sessions


@pytest.mark.parametrize("exchange", [one for one in EXCHANGES if one.calendar], ids=lambda one: one.calendar)
def test_every_exchange_has_a_calendar_of_the_zone_it_is_said_to_be_in(exchange):
    opens_at, closes_at = sessions_of(exchange.calendar, at("2026-11-16"), at("2026-11-21"))[0]
    assert timedelta(hours=3) < closes_at - opens_at <= timedelta(hours=24)


def test_yahoos_codes_lead_to_calendars():
    assert exchange_of("NMS").calendar == "XNYS"
    assert exchange_of("LSE").calendar == "XLON"
    assert exchange_of("CCC").never_closes


@pytest.mark.parametrize("code", ["", "DFM", "CAI", "KUW", "CSE", "DOH", "CCS", "VSE", "NEW"])
def test_an_unknown_code_has_no_calendar(code):
    assert exchange_of(code) == NOT_KNOWN


def test_a_fetch_writes_down_when_the_exchange_trades(yahoo):
    sessions._complete.cache_clear()
    yahoo.serve("SAP.DE", exchange="GER")
    Stock.objects.create(symbol="SAP.DE")
    job = request_fetches(list(Stock.objects.all()), Job.Trigger.USER_REQUEST).created[0]
    assert run_job(job.pk, "worker")
    known = TradingSession.objects.filter(calendar="XETR")
    assert known.filter(opens_at__gt=timezone.now() + timedelta(days=50)).exists()
    assert known.filter(closes_at__lt=timezone.now() - timedelta(days=7)).exists()


def test_sessions_are_written_once_a_day(django_assert_num_queries):
    sessions._complete.cache_clear()
    keep_sessions("NMS")
    with django_assert_num_queries(0):
        keep_sessions("NYQ")
    sessions._complete.cache_clear()  # as another process, or tomorrow
    before = set(TradingSession.objects.values_list("pk", flat=True))
    keep_sessions("NMS")
    assert set(TradingSession.objects.values_list("pk", flat=True)) == before


# Jobs


@pytest.fixture
def closed_market(db: None) -> datetime:
    """New York has been closed for five hours, and opens in five; since when."""
    now = timezone.now().replace(second=0, microsecond=0)
    for hours in (-11, 5):
        opens_at = now + timedelta(hours=hours)
        TradingSession.objects.create(calendar="XNYS", opens_at=opens_at, closes_at=opens_at + timedelta(hours=6))
    return now - timedelta(hours=5)


def settled(symbol: str) -> Stock:
    """A stock that was checked after the close, but longer ago than the limit."""
    checked_at = timezone.now() - timedelta(hours=3)
    return Stock.objects.create(
        symbol=symbol, exchange="NMS", source="yahoo_finance", checked_at=checked_at, last_bar_on=checked_at.date()
    )


def test_nobody_asks_for_what_cannot_have_changed_and_the_job_says_so(closed_market, yahoo):
    yahoo.serve("AAPL", exchange="NMS")
    job = request_fetches([settled("AAPL")], Job.Trigger.SCHEDULED_UPDATE).created[0]
    result = run_job(job.pk, "worker")
    assert result
    assert result["reason"] == f"market closed since {closed_market:%Y-%m-%d %H:%M} UTC"
    assert Job.objects.get().outcome == "unchanged"
    assert yahoo.asked_for() == []


@pytest.mark.parametrize("first", [Job.Trigger.USER_REQUEST, Job.Trigger.SCHEDULED_UPDATE, Job.Trigger.USER_LOGIN])
def test_a_person_who_requests_a_fetch_gets_one_while_the_market_is_closed(closed_market, yahoo, first):
    yahoo.serve("AAPL", exchange="NMS")
    stock = settled("AAPL")
    job = request_fetches([stock], first).created[0]
    request_fetches([stock], Job.Trigger.USER_REQUEST)  # joins
    assert run_job(job.pk, "worker")
    assert yahoo.asked_for() == ["AAPL"]


def test_a_backfill_is_done_while_the_market_is_closed(closed_market, yahoo):
    yahoo.serve("AAPL", exchange="NMS")
    today = timezone.now().date()
    start = today - timedelta(days=10)
    job = request_fetches([settled("AAPL")], Job.Trigger.USER_REQUEST, start=start, end=today).created[0]
    run_job(job.pk, "worker")
    assert yahoo.asked_for() == ["AAPL"]


@pytest.mark.django_db(transaction=True)
def test_a_batch_passes_over_what_cannot_have_changed(closed_market, yahoo):
    yahoo.serve("AAPL", "NEW", exchange="NMS")
    stocks = [settled("AAPL"), Stock.objects.create(symbol="NEW")]
    job = request_batches(stocks, Job.Trigger.SCHEDULED_UPDATE).created[0]
    result = run_job(job.pk, "worker")
    assert result
    assert result["results"]["AAPL"]["skipped"] == f"market closed since {closed_market:%Y-%m-%d %H:%M} UTC"
    assert yahoo.asked_for() == ["NEW"]


def test_a_login_asks_for_nothing_while_the_market_is_closed_and_the_page_says_why(closed_market, client, user):

    portfolio = Portfolio.objects.create(user=user, name="Main")
    stock = settled("AAPL")
    assert stock.last_bar_on
    PriceBar.objects.create(stock=stock, date=stock.last_bar_on, close=1.0)
    Holding.objects.create(portfolio=portfolio, stock=stock, shares=1, buy_price=1)
    assert client.login(username=user.username, password="secret")
    assert not Job.objects.exists()
    page = client.get("/").content.decode()
    assert "fresh" in page
    assert page.count("market closed") == 1
    assert f'title="since {closed_market:%Y-%m-%d %H:%M} UTC"' in page


def test_a_parked_stock_is_fetched_by_hand_alone_and_the_page_says_that_it_is(yahoo, client, user):
    parked = Stock.objects.create(symbol="GONE", status="delisted", checked_at=timezone.now() - timedelta(days=9))
    Holding.objects.create(
        portfolio=Portfolio.objects.create(user=user, name="Main"), stock=parked, shares=1, buy_price=1
    )
    assert client.login(username=user.username, password="secret")
    assert not Job.objects.exists()
    assert "delisted" in client.get("/").content.decode()
    yahoo.serve("GONE")
    client.post("/refresh/")
    assert run_job(Job.objects.get().pk, "worker")
    parked.refresh_from_db()
    assert parked.status == "active"
