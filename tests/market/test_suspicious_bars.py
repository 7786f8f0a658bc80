"""A jump that nothing explains is suspicious until the next session confirms it, and counts nowhere until then."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from market.analysis.technical.analyse import analyse
from market.models import PriceBar, Stock
from market.prices.store import store_history
from market.prices.suspicion import Close, suspicious_days
from market.sources.base import Bar, History
from portfolio.factors import value_portfolios
from portfolio.holdings import held_stocks, statements
from portfolio.models import Holding, Portfolio
from tasks.models import Job

DAY = timedelta(days=1)
FIRST = date(2026, 11, 2)


def days(*numbers: int) -> set[date]:
    return {FIRST + number * DAY for number in numbers}


def closes(*prices: float) -> list[Close]:
    return [Close(FIRST + number * DAY, price) for number, price in enumerate(prices)]


@pytest.mark.parametrize("unit", [1.0, 0.0001, 25_000.0])
@pytest.mark.parametrize(
    ("prices", "suspicious"),
    [
        ([100, 101, 141], set()),
        ([100, 100, 140], {2}),
        ([100, 100, 61], set()),
        ([100, 100, 60], {2}),
        ([523, 519, 5.22], {2}),  # pounds among pence
        ([523, 519, 5.22, 521], {2}),
        ([523, 5.19, 522, 5.2, 523], {1, 3}),
        ([17.2, 171, 17.3], {1}),  # a decimal slip
        ([2, 2, 9, 8.5], set()),  # confirmed
        ([2, 2, 9, 8.5, 1.9], {4}),
        ([5], set()),
        ([], set()),
    ],
)
def test_a_jump_is_suspicious_until_the_next_close_confirms_it(prices, suspicious, unit):
    assert suspicious_days(closes(*(price * unit for price in prices)), ()) == days(*suspicious)


@pytest.mark.parametrize(("action", "suspicious"), [(2, set()), (1, {2}), (3, {2})])
def test_a_split_or_dividend_explains_the_jump_of_its_day(action, suspicious):
    assert suspicious_days(closes(100, 100, 50), days(action)) == days(*suspicious)


@pytest.mark.parametrize(
    ("prices", "suspicious"),
    [([100, 100, 200, 101], set()), ([100, 100, 200, 201], set()), ([100, 100, 200, 20], {3})],
)
def test_an_accepted_spike_is_a_level_that_may_last_or_pass(prices, suspicious):
    assert suspicious_days(closes(*prices), (), days(2)) == days(*suspicious)


def test_a_price_below_zero_is_not_judged():
    assert suspicious_days(closes(18.27, -37.63, 10.01), ()) == set()


@given(st.lists(st.floats(0.9, 1.1), max_size=40))
def test_ordinary_moves_are_never_suspicious(moves: Sequence[float]):
    price, prices = 50.0, []
    for move in moves:
        price *= move
        prices.append(price)
    assert suspicious_days(closes(*prices), ()) == set()


def a_history(prices: Sequence[float], symbol: str = "VOD.L") -> History:
    """Bars of these closes until yesterday."""
    today = timezone.now().date()
    bars = [
        Bar(today - (len(prices) - number) * DAY, price, price * 1.01, price * 0.99, price, price, 1_000)
        for number, price in enumerate(prices)
    ]
    return History(symbol, "yahoo_finance", bars, exchange="CCC", currency="GBp")


def ordinary(count: int) -> list[float]:
    return [500 + number % 7 for number in range(count)]


@pytest.fixture
def vodafone(db: None) -> Stock:
    return Stock.objects.create(symbol="VOD.L")


def suspicious_bars() -> list[date]:
    return list(PriceBar.objects.filter(is_suspicious=True).values_list("date", flat=True))


def test_a_stored_jump_is_marked_and_the_next_session_clears_or_keeps_the_mark(vodafone):
    history = a_history([*ordinary(30), 5.02, 503])
    first = replace(history, bars=history.bars[:-1])
    store_history(first, timezone.now())
    assert suspicious_bars() == [first.bars[-1].date]
    store_history(history, timezone.now())
    assert suspicious_bars() == [first.bars[-1].date]
    confirmed = replace(history, bars=[*history.bars[:-1], history.bars[-1]._replace(close=5.01)])
    store_history(confirmed, timezone.now())
    assert suspicious_bars() == []


def test_a_quote_that_jumps_is_marked(vodafone):
    history = a_history([*ordinary(30), 50_200])
    store_history(replace(history, bars=history.bars[:-1]), timezone.now())
    store_history(replace(history, bars=history.bars[-1:], is_quote=True), timezone.now())
    assert suspicious_bars() == [history.bars[-1].date]


def test_an_analysis_leaves_suspicious_bars_out(vodafone):
    store_history(a_history(ordinary(300)), timezone.now())
    right = analyse(vodafone)
    PriceBar.objects.all().delete()
    Stock.objects.update(last_bar_on=None)
    store_history(a_history([*ordinary(300), 5.02]), timezone.now())
    with_jump = analyse(vodafone)
    assert right is not None
    assert with_jump is not None
    assert with_jump.values == right.values
    assert with_jump.recommendation == right.recommendation
    vodafone.refresh_from_db()
    assert vodafone.volatility is not None
    assert vodafone.volatility < 0.5


def test_values_orders_and_pages_use_the_last_trusted_close(vodafone, user, client):
    other = Stock.objects.create(symbol="BP.L")
    store_history(a_history([*ordinary(30), 50_200]), timezone.now())
    store_history(a_history([510.0] * 30, "BP.L"), timezone.now())
    portfolio = Portfolio.objects.create(user=user, name="Main")
    for stock, shares in ((vodafone, 10), (other, 11)):
        Holding.objects.create(portfolio=portfolio, stock=stock, shares=shares, buy_price=400)
    assert [stock.symbol for stock in held_stocks(user)] == ["BP.L", "VOD.L"]
    (statement,) = statements(user)
    assert [position.stock.symbol for position in statement.positions] == ["BP.L", "VOD.L"]
    value_portfolios()
    portfolio.refresh_from_db()
    assert portfolio.value == pytest.approx((10 * ordinary(30)[-1] + 11 * 510) / 100)
    client.force_login(user)
    page = client.get("/stocks/VOD.L/").content.decode()
    assert f"£{ordinary(30)[-1] / 100:.2f}" in page
    drawn = client.get("/stocks/VOD.L/chart/").json()
    assert drawn["close"] == [price / 100 for price in ordinary(30)]
    assert max(filter(None, drawn["sma_20"])) < 5.1


def test_an_owner_sees_that_the_newest_close_is_not_used_yet(vodafone, user, client):
    history = a_history([*ordinary(30), 50_200, 50_300])
    portfolio = Portfolio.objects.create(user=user, name="Main")
    Holding.objects.create(portfolio=portfolio, stock=vodafone, shares=10, buy_price=400)
    client.force_login(user)
    Job.objects.all().delete()  # of the login; the badge would say that they are under way

    store_history(replace(history, bars=history.bars[:-1]), timezone.now())
    of_stock, of_holdings = (client.get(address).content.decode() for address in ("/stocks/VOD.L/", "/"))
    assert f"The close of {history.bars[-2].date}, £502.00, differs by 9920 % from the close before" in of_stock
    assert "unconfirmed price" in of_holdings

    store_history(history, timezone.now())  # the next session confirms it
    of_stock, of_holdings = (client.get(address).content.decode() for address in ("/stocks/VOD.L/", "/"))
    assert "£503.00" in of_stock
    for page in (of_stock, of_holdings):
        assert "unconfirmed" not in page
