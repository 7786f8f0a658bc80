"""A stock that its source does not know any more is searched for by name, and an operator may use the new symbol."""

from typing import Any

import pytest

from market.jobs.requests import request_fetches
from market.models import Stock
from portfolio.models import Holding, Portfolio
from tasks.models import Job
from tasks.running.execute import JobFailed, run_job
from tests.support.standins.yahoo import SEARCH, daily_bars

pytestmark = pytest.mark.django_db

LIST = "/admin/market/stock/"


def fetch(symbol: str) -> dict[str, Any] | None:
    (job,) = request_fetches([Stock.objects.get(symbol=symbol)], Job.Trigger.USER_REQUEST).jobs
    return run_job(job.pk, "worker")


def serve(yahoo: Any, symbol: str, name: str, *, exchange: str = "NMS", days: int = 20) -> None:
    yahoo.touched.append(symbol)
    yahoo.server.serve(symbol, daily_bars(symbol, days), exchange=exchange, name=name)


def searches(yahoo: Any) -> int:
    return sum(request.path == SEARCH for request in yahoo.server.requests)


@pytest.fixture
def lose(travel, yahoo):
    """lose("FB", "Example Inc."): Yahoo knows the stock, and for the next three days it does not."""

    def lose(symbol: str, name: str, exchange: str = "NMS") -> Stock:
        travel("2026-11-20 21:30")
        serve(yahoo, symbol, name, exchange=exchange)
        Stock.objects.create(symbol=symbol)
        fetch(symbol)
        yahoo.server.forget(symbol)
        for day in (23, 24, 25):
            travel(f"2026-11-{day} 21:30")
            with pytest.raises(JobFailed):
                fetch(symbol)
        return Stock.objects.get(symbol=symbol)

    return lose


@pytest.mark.parametrize(
    ("old", "new", "exchange", "listed_as"),
    [
        ("FB", "META", "NMS", "Example, Inc."),
        ("OLD.L", "NEW.L", "LSE", "EXAMPLE INC"),
    ],
)
def test_the_only_symbol_under_the_stocks_name_is_offered(yahoo, lose, old, new, exchange, listed_as):
    serve(yahoo, new, listed_as, exchange=exchange)
    before = searches(yahoo)
    stock = lose(old, "Example Inc", exchange)
    assert (stock.status, stock.renamed_to) == ("delisted", new)
    assert searches(yahoo) == before + 1  # on the third day alone


def test_among_several_symbols_the_one_at_the_stocks_exchange_is_offered(yahoo, lose):
    serve(yahoo, "META", "Example Inc")
    serve(yahoo, "META.DE", "Example Inc", exchange="GER")
    assert lose("FB", "Example Inc").renamed_to == "META"


@pytest.mark.parametrize("names", [[], ["Example Inc", "Example Inc"], ["Example Inc Holdings"]], ids=str)
def test_nothing_is_offered_where_none_or_several_symbols_could_be_meant(yahoo, lose, names):
    for number, name in enumerate(names):
        serve(yahoo, f"NEW{number}", name)
    stock = lose("FB", "Example Inc")
    assert (stock.status, stock.renamed_to) == ("delisted", "")


def test_a_search_without_an_answer_changes_nothing_else_and_is_made_at_the_next_fetch(travel, yahoo, lose):
    serve(yahoo, "META", "Example Inc")
    yahoo.misbehave("server_error", SEARCH)
    stock = lose("FB", "Example Inc")
    assert (stock.status, stock.misses, stock.renamed_to, stock.searched_on) == ("delisted", 3, "", None)

    yahoo.server.behave(SEARCH)
    with pytest.raises(JobFailed):
        fetch("FB")
    assert Stock.objects.get(symbol="FB").renamed_to == "META"
    before = searches(yahoo)
    travel("2026-11-27 21:30")
    with pytest.raises(JobFailed):
        fetch("FB")
    assert searches(yahoo) == before  # once a week


def test_a_stock_that_its_source_knows_and_has_no_prices_of_is_searched_for_after_a_month(
    travel, yahoo, admin_client, admin_user
):
    serve(yahoo, "BK", "Example Bank")
    serve(yahoo, "BNY", "Example Bank")
    last = travel("2026-10-14 21:30").date()
    yahoo.server.serve("BK", daily_bars("BK", 20, until=last), exchange="NMS", name="Example Bank")
    Stock.objects.create(symbol="BK")
    fetch("BK")
    yahoo.misbehave("empty", "BK")
    for now, new in (("2026-11-13 21:30", ""), ("2026-11-16 21:30", "BNY")):
        travel(now)
        fetch("BK")
        stock = Stock.objects.get(symbol="BK")
        assert (stock.status, stock.renamed_to) == ("active", new)
    portfolio = Portfolio.objects.create(user=admin_user, name="Main")
    Holding.objects.create(portfolio=portfolio, stock=stock, shares=2, buy_price=1)
    assert "perhaps renamed to BNY" in admin_client.get("/").content.decode()


def test_a_renamed_stock_keeps_its_bars_and_holdings_and_goes_on_under_the_new_symbol(
    travel, yahoo, lose, admin_client, admin_user
):
    serve(yahoo, "META", "Example Inc", days=25)
    stock = lose("FB", "Example Inc")
    portfolio = Portfolio.objects.create(user=admin_user, name="Main")
    Holding.objects.create(portfolio=portfolio, stock=stock, shares=2, buy_price=1)
    assert "perhaps renamed to META" in admin_client.get("/").content.decode()

    answer = admin_client.post(LIST, {"action": "rename", "_selected_action": [stock.pk]}, follow=True)
    assert "FB is META now." in answer.content.decode()
    bars = stock.bars.count()
    assert fetch("META")
    stock.refresh_from_db()
    assert (stock.symbol, stock.status, stock.renamed_to) == ("META", "active", "")
    assert stock.bars.count() >= bars
    assert str(portfolio.holdings.get()) == "2 META"


def test_a_stock_without_a_new_symbol_or_with_that_of_another_stock_is_not_renamed(lose, yahoo, admin_client):
    serve(yahoo, "META", "Example Inc")
    lost = lose("FB", "Example Inc")
    other = Stock.objects.create(symbol="META")
    answer = admin_client.post(LIST, {"action": "rename", "_selected_action": [lost.pk, other.pk]}, follow=True)
    page = answer.content.decode()
    assert "META is another stock already; move the holdings of FB there." in page
    assert "No new symbol of META is known." in page
    assert set(Stock.objects.values_list("symbol", flat=True)) == {"FB", "META"}
