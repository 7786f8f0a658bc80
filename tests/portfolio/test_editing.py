"""Owners make, rename and delete their portfolios, and add, edit and delete their holdings; nobody else does."""

from decimal import Decimal

import pytest
from django.test import Client

from market.models import Stock
from portfolio.models import Holding, Portfolio
from tasks.models import Job

pytestmark = pytest.mark.django_db


@pytest.fixture
def portfolio(user) -> Portfolio:
    return Portfolio.objects.create(user=user, name="Main")


@pytest.fixture
def holding(portfolio) -> Holding:
    return portfolio.holdings.create(stock=Stock.objects.create(symbol="AAPL"), shares=10, buy_price=150)


def send(client: Client, address: str, **fields: object) -> str:
    page = client.post(address, fields, follow=True)
    assert page.status_code == 200
    return page.content.decode()


def test_a_portfolio_is_made_renamed_and_deleted(owner, user):
    assert "The portfolio Savings was created." in send(owner, "/portfolios/new/", name="Savings")
    portfolio = user.portfolios.get()
    told = send(owner, f"/portfolios/{portfolio.pk}/rename/", name="<b>Pension</b>")
    assert "&lt;b&gt;Pension&lt;/b&gt; now." in told
    assert (
        "Delete &lt;b&gt;Pension&lt;/b&gt; with its 0 holdings?"
        in owner.get(f"/portfolios/{portfolio.pk}/delete/").content.decode()
    )
    assert user.portfolios.exists()
    assert "Deleted" in send(owner, f"/portfolios/{portfolio.pk}/delete/")
    assert not user.portfolios.exists()


def test_the_page_before_a_deletion_counts_the_holdings(owner, portfolio, holding):
    page = owner.get(f"/portfolios/{portfolio.pk}/delete/").content.decode()
    assert "Delete Main with its 1 holding?" in page


def test_the_form_of_a_holding_shows_numbers_without_zeros_at_the_end(owner, holding):
    Holding.objects.update(shares=Decimal("1000.5"), buy_price=150)
    page = owner.get(f"/holdings/{holding.pk}/").content.decode()
    assert 'value="1000.5"' in page
    assert 'value="150"' in page


@pytest.mark.parametrize(
    ("name", "problem"),
    [("", "This field is required."), ("Main", "You have a portfolio “Main” already."), ("x" * 101, "at most 100")],
)
def test_a_name_that_cannot_be_is_refused(name, problem, owner, portfolio, user):
    assert problem in send(owner, "/portfolios/new/", name=name)
    assert user.portfolios.count() == 1


def test_others_may_have_a_portfolio_of_the_same_name(owner, portfolio, django_user_model):
    other = Client()
    other.force_login(django_user_model.objects.create_user("other"))
    assert "was created" in send(other, "/portfolios/new/", name="Main")


def test_a_stock_is_added_and_fetched_at_once(owner, portfolio):
    told = send(owner, f"/portfolios/{portfolio.pk}/add/", symbol="nyse:brk.b", shares="0.5", buy_price="")
    assert "Added 0.5 BRK-B." in told
    holding = portfolio.holdings.get()
    assert (holding.stock.symbol, holding.shares, holding.buy_price) == ("BRK-B", Decimal("0.5"), None)
    (job,) = Job.objects.filter(job_type=Job.Type.STOCK_FETCH)
    assert (job.symbol, job.queue) == ("BRK-B", "foreground")


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"symbol": "<b>"}, "is not a symbol"),
        ({"symbol": "US0378331005"}, "is an ISIN, not a symbol"),
        ({"symbol": "aapl"}, "AAPL is in this portfolio already; edit that holding."),
        ({"shares": "0"}, "greater than or equal to"),
        ({"shares": "ten"}, "Enter a number."),
        ({"buy_price": "-1"}, "greater than or equal to 0"),
        ({"shares": "1e30"}, "no more than"),
    ],
)
def test_a_holding_that_cannot_be_is_refused(fields, problem, owner, portfolio, holding):
    given = {"symbol": "MSFT", "shares": "1", "buy_price": "2", **fields}
    assert problem in send(owner, f"/portfolios/{portfolio.pk}/add/", **given)
    assert portfolio.holdings.count() == 1
    assert Stock.objects.count() == 1


def test_a_double_click_adds_a_stock_once(owner, portfolio):
    for _ in range(2):
        send(owner, f"/portfolios/{portfolio.pk}/add/", symbol="AAPL", shares="1", buy_price="2")
    assert portfolio.holdings.count() == 1


def test_a_holding_is_edited_and_deleted(owner, holding):
    page = owner.get(f"/holdings/{holding.pk}/").content.decode()
    assert f'href="/holdings/{holding.pk}/delete/"' in page
    assert "Changed: 12 AAPL." in send(owner, f"/holdings/{holding.pk}/", shares="12", buy_price="")
    holding.refresh_from_db()
    assert (holding.shares, holding.buy_price) == (12, None)
    assert "Delete 12 AAPL in Main?" in owner.get(f"/holdings/{holding.pk}/delete/").content.decode()
    assert "Deleted 12 AAPL in Main." in send(owner, f"/holdings/{holding.pk}/delete/")
    assert not Holding.objects.exists()
    assert Stock.objects.exists()


def test_the_page_leads_to_every_change(owner, holding):
    page = owner.get("/").content.decode()
    for address in (
        "/portfolios/new/",
        f"/portfolios/{holding.portfolio_id}/add/",
        f"/portfolios/{holding.portfolio_id}/rename/",
        f"/portfolios/{holding.portfolio_id}/delete/",
        f"/holdings/{holding.pk}/",
    ):
        assert f'href="{address}"' in page


def test_what_belongs_to_somebody_else_is_not_found(holding, django_user_model):
    other = Client()
    other.force_login(django_user_model.objects.create_user("other", is_staff=True, is_superuser=True))
    for address in (
        f"/portfolios/{holding.portfolio_id}/add/",
        f"/portfolios/{holding.portfolio_id}/rename/",
        f"/portfolios/{holding.portfolio_id}/delete/",
        f"/holdings/{holding.pk}/",
        f"/holdings/{holding.pk}/delete/",
    ):
        assert other.get(address).status_code == 404
        assert other.post(address, {"name": "x", "shares": 1, "symbol": "A"}).status_code == 404
        assert Client().get(address).status_code == 302
    holding.refresh_from_db()
    assert holding.shares == 10
