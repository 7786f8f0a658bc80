"""Price alerts: what raises them, once, and what never does."""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from market.jobs.requests import request_fetches
from market.models import BarDecision, PriceBar, Stock, TradingSession
from market.prices.decisions import decide
from market.prices.store import store_histories, store_history
from market.sources.base import History
from portfolio.models import PriceAlert, PriceAlertNotice
from portfolio.price_alerts import check
from portfolio.price_alerts.setting import MOST_ALERTS, AlertRefused, set_alert
from portfolio.schedules.warming import kept_stocks
from tasks.models import Job
from tasks.running.execute import run_message
from tests.support.prices import flat_bars, quotable

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
TUESDAY = date(2026, 3, 10)
NOON = datetime(2026, 3, 10, 16, tzinfo=UTC)


@pytest.fixture
def clock() -> Any:
    """Tuesday, while New York trades."""
    with time_machine.travel(NOON, tick=False) as clock:
        yield clock


@pytest.fixture
def new_york(clock: Any) -> None:
    TradingSession.objects.filter(calendar="XNYS").delete()
    for days in range(-14, 8):
        opens_at = NOON.replace(hour=13, minute=30) + days * DAY
        if opens_at.weekday() < 5:
            TradingSession.objects.create(
                calendar="XNYS", opens_at=opens_at, closes_at=opens_at.replace(hour=20, minute=0)
            )


def weekdays(count: int, until: date) -> list[date]:
    days = (until - number * DAY for number in range(2 * count + 7))
    return [day for day in days if day.weekday() < 5][:count][::-1]


def history(closes: Sequence[float], until: date = TUESDAY, symbol: str = "AAPL", **facts: Any) -> History:
    bars = flat_bars(weekdays(len(closes), until), closes)
    facts = {"exchange": "NMS", "currency": "USD"} | facts
    return History(symbol, facts.pop("source", "yahoo_finance"), bars, **facts)


Store = Callable[..., None]


@pytest.fixture
def store(new_york: None) -> Store:
    """store(100, 105): the closes of the last sessions until Tuesday, as a fetch stores them."""

    def store(*closes: float, until: date = TUESDAY, symbol: str = "AAPL", **facts: Any) -> None:
        Stock.objects.get_or_create(symbol=symbol)
        store_history(history(closes, until, symbol, **facts), timezone.now())

    return store


def alert(user: User, kind: str, threshold: str, symbol: str = "AAPL") -> PriceAlert:
    return set_alert(user, Stock.objects.get(symbol=symbol), kind, Decimal(threshold))


def raised() -> list[tuple[str, str, float, float]]:
    """The notices: symbol, kind, price and threshold."""
    rows = PriceAlertNotice.objects.order_by("pk").select_related("stock")
    return [(row.stock.symbol, row.kind, float(row.price), float(row.threshold)) for row in rows]


@pytest.mark.parametrize(
    ("kind", "threshold", "quiet", "loud"),
    [("above", "110", 109.99, 110), ("below", "90", 90.01, 90), ("moved", "5", 104.99, 105), ("moved", "5", 96, 95)],
)
def test_an_alert_is_raised_when_its_threshold_is_reached_and_only_once(user, store, kind, threshold, quiet, loud):
    store(100, 100)
    alert(user, kind, threshold)
    store(100, quiet)
    assert raised() == []
    store(100, loud)
    store(100, loud + 0.01 if kind == "above" or loud > 100 else loud - 0.01)
    assert raised() == [("AAPL", kind, loud, float(threshold))]
    notice, found = PriceAlertNotice.objects.get(), PriceAlert.objects.get()
    assert (notice.user, notice.currency, notice.session, notice.at) == (user, "USD", TUESDAY, NOON)
    assert notice.change_percent == pytest.approx(loud - 100)
    assert (found.state, found.raised_at, found.raised_on) == ("raised", NOON, TUESDAY)
    assert found.raised_price == Decimal(str(loud))


def test_the_real_fetch_raises_an_alert(user, yahoo):
    (stock,) = quotable(yahoo.server, "ALRT")
    yahoo.touched.append("ALRT")
    newest = stock.bars.latest("date").close
    alert(user, "above", f"{newest * 1.02:.4f}", "ALRT")
    quote = yahoo.server.quote_of("ALRT", regularMarketPrice=newest * 1.03, regularMarketDayHigh=newest * 2)
    yahoo.server.serve_quote("ALRT", quote)
    (job,) = request_fetches([stock], Job.Trigger.USER_LOGIN, user).created
    Job.objects.update(dispatched_at=timezone.now())
    run_message(job.pk, "worker")
    assert Job.objects.get().status == "completed"
    ((symbol, kind, price, _threshold),) = raised()
    assert (symbol, kind) == ("ALRT", "above")
    assert price == pytest.approx(newest * 1.03)


# Hysteresis


def test_an_alert_is_armed_again_only_after_the_price_has_gone_back_by_a_margin(user, store):
    store(100, 100)
    alert(user, "above", "110")
    alert(user, "below", "90")
    for price in (110, 109, 110, 108.91, 111):
        store(100, price)
    assert len(raised()) == 1
    store(100, 108.9)
    assert PriceAlert.objects.get(kind="above").state == "armed"
    store(100, 112)
    assert [price for _, _, price, _ in raised()] == [110, 112]
    for price in (90, 90.89, 89, 90.9, 89.5):
        store(100, price)
    assert [price for _, kind, price, _ in raised() if kind == "below"] == [90, 89.5]


def test_a_move_is_told_once_a_session(user, store, clock):
    store(100, 100)
    alert(user, "moved", "5")
    for price in (106, 100, 107, 94):
        store(100, price)
    assert len(raised()) == 1
    clock.move_to(NOON + DAY)
    store(100, 94, 94, until=TUESDAY + DAY)
    assert PriceAlert.objects.get().state == "armed"
    store(100, 94, 100, until=TUESDAY + DAY)
    assert len(raised()) == 2


# What never raises


def test_a_suspicious_price_raises_nothing_until_the_next_session_confirms_it(user, store, clock):
    store(*[100] * 5)
    alert(user, "above", "150")
    alert(user, "moved", "5")
    store(*[100] * 4, 1000)
    assert PriceBar.objects.filter(is_suspicious=True).exists()
    assert raised() == []
    clock.move_to(NOON + DAY)
    store(*[100] * 4, 1000, 1001, until=TUESDAY + DAY)
    assert raised() == [("AAPL", "above", 1001, 150)]


def test_a_suspicious_price_that_a_person_accepts_raises_an_alert(user, store):
    store(*[100] * 5)
    alert(user, "above", "150")
    store(*[100] * 4, 1000)
    decide(PriceBar.objects.get(is_suspicious=True), BarDecision.Kind.ACCEPTED, "operator")
    assert raised() == [("AAPL", "above", 1000, 150)]


def test_an_old_bar_raises_nothing(user, store):
    store(100, 100)
    alert(user, "above", "110")
    alert(user, "moved", "5")
    store(90, 130, 100, 100)  # corrected and added bars of earlier sessions
    assert raised() == []


@pytest.mark.parametrize(
    ("until", "kinds"),
    [
        (TUESDAY - 4 * DAY, []),  # last week's Friday, two sessions ago
        (TUESDAY - DAY, ["above"]),  # the last close, while the next session has begun
        (TUESDAY, ["above", "moved"]),
    ],
)
def test_a_newest_bar_of_an_earlier_session_raises_nothing(user, store, until, kinds):
    store(100, 100, until=TUESDAY - 5 * DAY)
    alert(user, "above", "110")
    alert(user, "moved", "5")
    store(*[100] * 5, 120, until=until)
    assert sorted(kind for _, kind, _, _ in raised()) == kinds


def test_an_unknown_close_before_raises_no_move(user, store):
    store(100)
    alert(user, "moved", "5")
    store(120)
    assert raised() == []


def test_other_stocks_and_other_currencies_raise_nothing(user, store):
    store(100, 100)
    store(100, 100, symbol="MSFT")
    alert(user, "above", "110")
    store(100, 120, symbol="MSFT")
    store(100, 120, currency="EUR")
    assert raised() == []


def test_pence_are_compared_as_pounds(user, store):
    store(500, 500, currency="GBp")
    alert(user, "above", "5.10")
    store(500, 509.9, currency="GBp")
    assert raised() == []
    store(500, 510, currency="GBp")
    assert raised() == [("AAPL", "above", 5.1, 5.1)]
    assert PriceAlertNotice.objects.get().currency == "GBP"


# Splits


def test_a_split_adjusts_the_threshold_and_raises_nothing(user, store, clock):
    store(*[400] * 10)
    alert(user, "below", "200")
    alert(user, "above", "500")
    clock.move_to(NOON + DAY)
    store(*[100] * 11, until=TUESDAY + DAY, actions=(TUESDAY + DAY,))
    assert raised() == []
    assert set(PriceAlert.objects.values_list("threshold", "adjusted_on")) == {
        (Decimal(50), TUESDAY + DAY),
        (Decimal(125), TUESDAY + DAY),
    }
    store(*[100] * 10, 49, until=TUESDAY + DAY, actions=(TUESDAY + DAY,))
    assert raised() == [("AAPL", "below", 49, 50)]


def test_alerts_wait_while_a_split_has_adjusted_a_part_of_the_history(user, store, clock):
    store(*[400] * 40)
    alert(user, "below", "200")
    PriceAlert.objects.update(base_on=PriceBar.objects.earliest("date").date)
    clock.move_to(NOON + DAY)
    store(*[100] * 11, until=TUESDAY + DAY, actions=(TUESDAY + DAY,))
    assert Stock.objects.get().is_outdated
    assert raised() == []
    whole = history([100] * 41, TUESDAY + DAY)
    store_history(whole, None, asked_from=whole.bars[0].date, replace=True)
    assert raised() == []
    assert PriceAlert.objects.get().threshold == 50


def test_a_split_of_prices_as_traded_raises_nothing(user, store, clock):
    store(*[400] * 10)
    alert(user, "below", "200")
    alert(user, "moved", "5")
    clock.move_to(NOON + DAY)
    store(400, 100, until=TUESDAY + DAY, actions=(TUESDAY + DAY,), source="alpha_vantage")
    assert not PriceBar.objects.filter(is_suspicious=True).exists()
    assert raised() == []


def test_the_first_session_of_a_stock_moves_no_threshold(user, store):
    store(100)
    alert(user, "above", "110")
    store(105)
    assert PriceAlert.objects.get().threshold == 110
    store(110)
    assert raised() == [("AAPL", "above", 110, 110)]


def test_an_alert_from_the_first_session_is_adjusted_to_splits_after_the_second(user, store, clock):
    store(400)
    alert(user, "below", "200")
    clock.move_to(NOON + DAY)
    store(400, 400, until=TUESDAY + DAY)
    clock.move_to(NOON + 2 * DAY)
    store(100, 100, 100, until=TUESDAY + 2 * DAY, actions=(TUESDAY + 2 * DAY,))
    assert raised() == []
    assert PriceAlert.objects.get().threshold == 50


def test_an_alert_set_before_older_closes_are_adjusted_keeps_its_threshold(user, store, clock):
    store(*[400] * 10, 100, actions=(TUESDAY,), source="alpha_vantage")
    alert(user, "below", "90")
    clock.move_to(NOON + DAY)
    store(*[100] * 12, until=TUESDAY + DAY, actions=(TUESDAY,))
    assert PriceAlert.objects.get().threshold == 90


def test_prices_in_pence_that_are_told_in_pounds_from_now_on_leave_the_threshold(user, store):
    store(400, 400, currency="GBp")
    alert(user, "above", "5")
    store(4, 4, currency="GBP")
    assert PriceAlert.objects.get().threshold == 5
    assert raised() == []


def test_an_alert_of_a_user_who_is_not_active_waits(user, store):
    store(100, 100)
    alert(user, "above", "110")
    User.objects.update(is_active=False)
    store(100, 111)
    assert raised() == []
    User.objects.update(is_active=True)
    store(100, 112)
    assert raised() == [("AAPL", "above", 112, 110)]


def test_a_correction_of_the_base_close_leaves_the_threshold(user, store):
    store(100, 100)
    alert(user, "above", "110")
    store(101, 100)
    assert PriceAlert.objects.get().threshold == 110


# The check and the fetch


def test_the_check_takes_a_query_without_alerts_and_a_fixed_number_with_them(user, new_york):
    def stored(stocks: int, *closes: float) -> int:
        symbols = [f"S{number}" for number in range(stocks)]
        Stock.objects.find_or_create(symbols)
        answers = [history(closes, symbol=symbol) for symbol in symbols]
        store_histories(answers, timezone.now())
        with CaptureQueriesContext(connection) as queries:
            check.check_alerts(list(Stock.objects.all()))
        return len(queries) - 1

    assert stored(2, 100, 100) == 1
    for stock in Stock.objects.all():
        alert(user, "above", "110", stock.symbol)
    few = stored(2, 100, 105)
    for stock in Stock.objects.find_or_create([f"S{number}" for number in range(2, 50)]):
        store_history(history([100, 100], symbol=stock.symbol), timezone.now())
        alert(user, "above", "110", stock.symbol)
    assert stored(50, 100, 106) == few == 4
    before = PriceAlertNotice.objects.count()
    with CaptureQueriesContext(connection) as queries:
        store_histories([history([100, 120], symbol=f"S{number}") for number in range(50)], timezone.now())
    assert PriceAlertNotice.objects.count() == before + 50
    assert len(queries) < 25


def test_a_failing_check_keeps_the_prices(user, store, monkeypatch, caplog):
    def fail(*_: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT no_such_column FROM portfolio_pricealert")

    store(100, 100)
    alert(user, "above", "110")
    monkeypatch.setattr(check, "newest_prices", fail)
    store(100, 120)
    assert PriceBar.objects.latest("date").close == 120
    assert raised() == []
    assert "changed prices of AAPL: check_alerts failed" in caplog.text
    monkeypatch.undo()
    store(100, 121)
    assert len(raised()) == 1


def test_a_rolled_back_store_leaves_no_notice(user, store):
    store(100, 100)
    alert(user, "above", "110")
    with transaction.atomic():
        store(100, 120)
        assert len(raised()) == 1
        transaction.set_rollback(True)
    assert raised() == []
    assert PriceAlert.objects.get().state == "armed"


# Setting


@pytest.mark.parametrize(
    ("kind", "threshold", "problem"),
    [
        (
            "above",
            "99",
            r"AAPL is at \$100.00 already; an alert on a price at or above \$99.00 would be raised at once",
        ),
        ("below", "100", r"AAPL is at \$100.00 already"),
        ("above", "0", "A price is above 0"),
        ("above", "1000000000000", "below 1,000,000,000,000"),
        ("moved", "0.05", "from 0.1 to 1000 %"),
        ("moved", "1001", "from 0.1 to 1000 %"),
    ],
)
def test_an_alert_that_makes_no_sense_is_refused(user, store, kind, threshold, problem):
    store(100, 100)
    with pytest.raises(AlertRefused, match=problem):
        alert(user, kind, threshold)
    assert not PriceAlert.objects.exists()


def test_the_same_alert_twice_and_too_many_alerts_are_refused(user, store, django_user_model):
    store(100, 100)
    alert(user, "above", "110")
    with pytest.raises(AlertRefused, match=r"You have this alert on AAPL already: price at or above \$110.00."):
        alert(user, "above", "110.00")
    other = django_user_model.objects.create_user("other")
    alert(other, "above", "110")
    for number in range(1, MOST_ALERTS):
        alert(user, "above", str(110 + number))
    with pytest.raises(AlertRefused, match="You have 200 alerts, which is the limit; delete an alert first"):
        alert(user, "above", "5000")


def test_an_alert_on_a_price_needs_a_price(user, db):
    stock = Stock.objects.create(symbol="NEWCO")
    with pytest.raises(AlertRefused, match="NEWCO has no price yet"):
        set_alert(user, stock, "above", Decimal(5))
    set_alert(user, stock, "moved", Decimal(5))


def test_a_move_that_is_reached_already_begins_with_the_next_session(user, store, clock):
    store(100, 106)
    alert(user, "moved", "5")
    store(100, 107)
    assert raised() == []
    clock.move_to(NOON + DAY)
    store(100, 107, 115, until=TUESDAY + DAY)
    assert len(raised()) == 1


def test_a_stock_with_an_alert_is_kept_warm_even_if_nobody_holds_it(user, store):
    store(100, 100)
    assert not kept_stocks().exists()
    alert(user, "above", "110")
    assert kept_stocks().get().symbol == "AAPL"
    User.objects.update(is_active=False)
    assert not kept_stocks().exists()
