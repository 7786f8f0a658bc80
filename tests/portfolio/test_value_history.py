"""What today's holdings were worth on earlier days, beside a benchmark."""

from datetime import date, timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from market.models import PriceBar, Stock
from portfolio.models import Holding, Portfolio, Preferences
from portfolio.value_chart import HEIGHT, POINTS, draw
from portfolio.value_history import ValueHistory, cached_history, value_history
from tasks.models import Job

pytestmark = pytest.mark.django_db

MONDAY = date(2026, 11, 23)
DAYS = [MONDAY + timedelta(days=number) for number in range(5)]


@pytest.fixture
def portfolio(user) -> Portfolio:
    return Portfolio.objects.create(user=user, name="Main")


def priced(symbol: str, currency: str, closes: dict[date, float]) -> Stock:
    stock = Stock.objects.create(symbol=symbol, currency=currency)
    PriceBar.objects.bulk_create(PriceBar(stock=stock, date=day, close=close) for day, close in closes.items())
    return stock


def held(portfolio: Portfolio, stock: Stock, shares: int = 10) -> None:
    Holding.objects.create(portfolio=portfolio, stock=stock, shares=Decimal(shares), buy_price=None)


def on(*closes: float | None) -> dict[date, float]:
    return {day: close for day, close in zip(DAYS, closes, strict=False) if close is not None}


def test_the_value_of_each_day_is_that_of_todays_shares(portfolio):
    held(portfolio, priced("AAPL", "USD", on(1, 2, 3)))
    held(portfolio, priced("MSFT", "USD", on(10, 10, 20)), shares=1)
    found = value_history(portfolio, "USD", date.min)
    assert (list(found.days), list(found.values)) == (DAYS[:3], [20, 30, 50])


def test_a_day_without_a_price_counts_at_the_price_before_and_a_new_stock_at_its_first(portfolio):
    held(portfolio, priced("LSE", "USD", on(1, None, 3)))
    held(portfolio, priced("IPO", "USD", on(None, 5, 7)), shares=1)
    assert list(value_history(portfolio, "USD", date.min).values) == [15, 15, 37]


def test_a_suspicious_price_is_left_out(portfolio):
    stock = priced("ODD", "USD", on(1, 900, 2))
    held(portfolio, stock)
    PriceBar.objects.filter(stock=stock, close=900).update(is_suspicious=True)
    assert list(value_history(portfolio, "USD", date.min).values) == [10, 20]


def test_the_rate_of_each_day_converts_into_the_base_currency(portfolio):
    held(portfolio, priced("VOD.L", "GBp", on(100, 100, 200)))
    held(portfolio, priced("SAP.DE", "EUR", on(9, 9, 9)), shares=1)
    priced("GBP=X", "GBP", on(0.8, 0.5))
    priced("EUR=X", "EUR", on(0.9, 0.9, 1.0))
    found = value_history(portfolio, "EUR", date.min)
    assert list(found.values) == pytest.approx([10 * 0.9 / 0.8 + 9, 10 * 0.9 / 0.5 + 9, 20 * 1.0 / 0.5 + 9])
    assert found.unconverted == []


def test_a_currency_without_a_rate_is_left_out_and_named(portfolio):
    held(portfolio, priced("AAPL", "USD", on(1, 2)))
    for symbol, currency in {"ERIC": "SEK", "VOD.L": "GBp", "BP.L": "GBP", "SAP": ""}.items():
        held(portfolio, priced(symbol, currency, on(100, 100)))
    found = value_history(portfolio, "USD", date.min)
    assert (list(found.values), found.unconverted) == ([10, 20], ["GBP", "SEK", "an unknown currency"])


def test_a_rate_of_zero_is_left_out(portfolio):
    held(portfolio, priced("SAP.DE", "EUR", on(9, 9)))
    priced("EUR=X", "EUR", on(0, 0.5))
    assert list(value_history(portfolio, "USD", date.min).values) == [180, 180]


def test_the_range_begins_at_its_first_day(portfolio):
    held(portfolio, priced("AAPL", "USD", on(1, 2, 3, 4)))
    assert list(value_history(portfolio, "USD", DAYS[2]).values) == [30, 40]


def test_the_benchmark_begins_at_the_first_value():
    chart = draw(ValueHistory("USD", DAYS[:3], [100.0, 150.0, 110.0], []), [(DAYS[0], 5_000.0), (DAYS[2], 6_000.0)])
    assert chart is not None
    assert [chart.change, chart.benchmark_change] == pytest.approx([0.1, 0.2])
    # Both lines begin at the same place.
    assert chart.line.split("L")[0] == chart.benchmark_line.split("L")[0]


@pytest.mark.parametrize("values", [[7.0, 7.0], [0.0, 0.0], [1e-6, 2e-6], [1e12, 3e12], [-5.0, 5.0]])
def test_a_chart_of_any_values_stays_in_its_picture(values):
    chart = draw(ValueHistory("USD", DAYS[:2], values, []), [])
    assert chart is not None
    assert all(0 <= tick.place <= HEIGHT for tick in chart.values)
    assert 2 <= len(chart.values) <= 6
    assert chart.benchmark_line == ""


def test_a_long_history_has_a_bounded_number_of_points():
    days = [MONDAY + timedelta(days=number) for number in range(5_000)]
    chart = draw(ValueHistory("USD", days, [float(number) for number in range(5_000)], []), [])
    assert chart is not None
    assert chart.line.count("L") <= POINTS
    assert (chart.first_day, chart.last_day, chart.last) == (days[0], days[-1], 4_999.0)


def test_a_day_alone_has_no_chart():
    assert draw(ValueHistory("USD", DAYS[:1], [1.0], []), []) is None


@pytest.fixture
def show(user, client, portfolio):
    """show("1m"): the part of the page with the history over a range."""
    client.force_login(user)
    return lambda name="1y": client.get(f"/portfolios/{portfolio.pk}/history/?range={name}").content.decode()


def test_the_page_shows_the_change_and_the_benchmarks(user, portfolio, show):
    today = timezone.now().date()
    days = {today - timedelta(days=2): 1.0, today - timedelta(days=1): 1.5}
    held(portfolio, priced("AAPL", "USD", days))
    priced("^GSPC", "USD", {day: 4_000 * (1 + close / 10) for day, close in days.items()})
    shown = show()
    assert "$10.00 on" in shown
    assert "+50.00\xa0%" in shown
    assert "^GSPC</span>: <span" in shown
    Preferences.objects.create(user=user, benchmark="^DJI")
    assert "^DJI has no prices for these days yet; they are being fetched." in show()


def test_the_histories_of_references_are_fetched_once(portfolio, show):
    held(portfolio, priced("SAP.DE", "EUR", on(1, 2)))
    show()
    fetches = Job.objects.filter(parameters__has_key="start")
    assert sorted(fetches.values_list("symbol", flat=True)) == ["EUR=X", "^GSPC"]
    Job.objects.update(status="failed", finished_at=timezone.now())
    show()
    assert fetches.count() == 2


def test_a_portfolio_without_prices_says_so(show):
    assert "No prices of these days are stored yet" in show()


def test_a_history_is_computed_once_until_a_share_or_a_price_changes(portfolio, django_assert_num_queries):
    stock = priced("AAPL", "USD", on(1, 2))
    held(portfolio, stock)
    computed = cached_history(portfolio, "USD", MONDAY)
    assert computed == value_history(portfolio, "USD", MONDAY)
    with django_assert_num_queries(1):  # the shares, and the times of the last changes
        assert cached_history(portfolio, "USD", MONDAY) == computed
    Holding.objects.update(shares=20)
    assert list(cached_history(portfolio, "USD", MONDAY).values) == [20, 40]
    PriceBar.objects.filter(stock=stock, close=2).update(close=3)
    Stock.objects.update(bars_changed_at=timezone.now())
    assert list(cached_history(portfolio, "USD", MONDAY).values) == [20, 60]


@pytest.mark.usefixtures("show")
def test_an_unknown_range_and_a_portfolio_of_others_are_not_found(client, portfolio, django_user_model):
    address = f"/portfolios/{portfolio.pk}/history/"
    assert client.get(address, {"range": "2y"}).status_code == 404
    assert client.get(address).status_code == 200
    client.force_login(django_user_model.objects.create_user("other"))
    assert client.get(address).status_code == 404
