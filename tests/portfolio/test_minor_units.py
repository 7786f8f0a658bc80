"""Pence, cents and agorot are shown and added in pounds, rand and shekels."""

from datetime import date
from decimal import Decimal

import pytest

from market.currency import major_unit
from market.models import PriceBar, Stock
from portfolio.factors import value_portfolios
from portfolio.holdings import held_stocks, statements
from portfolio.models import Holding, Portfolio, Preferences
from portfolio.templatetags.display import money

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("stated", "currency", "parts"),
    [
        ("GBp", "GBP", 100),
        ("GBP", "GBP", 1),
        ("ZAc", "ZAR", 100),
        ("ILA", "ILS", 100),
        ("KWF", "KWD", 1_000),
        ("USD", "USD", 1),
        ("", "", 1),
    ],
)
def test_a_minor_unit_is_a_part_of_its_currency(stated, currency, parts):
    assert major_unit(stated) == (currency, parts)


@pytest.fixture
def portfolio(user) -> Portfolio:
    """Holdings of 20 pounds, 30 pounds, 25 dollars and 900 shekels, in this order of their symbols."""
    portfolio = Portfolio.objects.create(user=user, name="Main")
    for symbol, currency, close, shares, buy_price in (
        ("A.L", "GBp", 200.0, 10, 150),
        ("B.L", "GBP", 3.0, 10, 2),
        ("C", "USD", 2.5, 10, 2),
        ("D.TA", "ILA", 9_000.0, 10, 10_000),
    ):
        stock = Stock.objects.create(symbol=symbol, currency=currency)
        PriceBar.objects.create(stock=stock, date=date(2026, 11, 27), close=close)
        Holding.objects.create(portfolio=portfolio, stock=stock, shares=shares, buy_price=buy_price)
    return portfolio


def test_positions_and_totals_are_in_major_units(portfolio, user):
    (statement,) = statements(user)
    shown = {position.stock.symbol: (position.price, position.currency) for position in statement.positions}
    assert shown == {
        "A.L": (Decimal(2), "GBP"),
        "B.L": (Decimal(3), "GBP"),
        "C": (Decimal("2.5"), "USD"),
        "D.TA": (Decimal(90), "ILS"),
    }
    assert statement.summary.value == Decimal(25)
    assert statement.summary.unconverted == ["GBP", "ILS"]


def test_the_total_is_in_the_base_currency_at_the_newest_rates(portfolio, user):
    for symbol, rate in (("GBP=X", 0.8), ("ILS=X", 4.0)):
        pair = Stock.objects.create(symbol=symbol, currency=symbol[:3])
        PriceBar.objects.create(stock=pair, date=date(2026, 11, 27), close=rate)
    (statement,) = statements(user)
    # 50 pounds are 62.50 dollars, 900 shekels are 225.
    assert statement.summary.value == Decimal("312.5")
    assert statement.summary.gain == Decimal("18.75") + 5 - 25
    assert [(one.label, one.value) for one in statement.summary.by_currency] == [
        ("ILS", Decimal(225)),
        ("GBP", Decimal("62.5")),
        ("USD", Decimal(25)),
    ]
    Preferences.objects.create(user=user, base_currency="GBP")
    (statement,) = statements(user)
    assert (statement.summary.currency, statement.summary.value) == ("GBP", Decimal(250))


def test_the_largest_holding_and_the_value_count_major_units(portfolio, user):
    assert [stock.symbol for stock in held_stocks(user)] == ["D.TA", "B.L", "C", "A.L"]
    value_portfolios()
    portfolio.refresh_from_db()
    assert portfolio.value == pytest.approx(975)


def test_pages_show_major_units(portfolio, user, client):
    client.force_login(user)
    page = client.get("/").content.decode()
    assert "£2.00" in page
    assert "£30.00" in page
    assert "Without the stocks in GBP, ILS: the exchange rate is not known yet." in page
    assert "900.00 ILS" in page
    assert "GBp" not in page
    stock_page = client.get("/stocks/A.L/").content.decode()
    assert "£2.00" in stock_page
    assert "worth <strong>£20.00</strong>" in stock_page
    assert "+5.00" in stock_page


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        ("0", "$0.00"),
        ("1234.5", "$1,234.50"),
        ("-1234.567", "-$1,234.57"),
        ("0.5", "$0.5000"),
        ("0.12345", "$0.1234"),
        ("0.0123456", "$0.01235"),
        ("0.0000083", "$0.0000083"),
        ("0.00000825", "$0.00000825"),
        ("-0.00000123456", "-$0.000001235"),
    ],
)
def test_a_small_price_shows_its_digits(amount, shown):
    assert money(Decimal(amount), "USD") == shown
