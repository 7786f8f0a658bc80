"""An owner exports the own holdings, and imports the file again to the same portfolios."""

import csv
import io
from datetime import date

import pytest
from django.contrib.auth.models import User
from django.test import Client

from market.models import PriceBar, Stock
from portfolio.files.reading import read_file
from portfolio.imports.changes import import_file
from portfolio.models import Holding, Portfolio

pytestmark = pytest.mark.django_db

GIVEN = """Portfolio,Symbol,Shares,Price paid
Savings,AAPL,10,150
Savings,BRK-B,0.25,
=Pension,AAPL,3,0
=Pension,^GSPC,1,2
"""


@pytest.fixture
def owner(client: Client, user: User) -> Client:
    import_file(read_file(GIVEN.encode()), user)
    client.force_login(user)
    return client


def held(user: User) -> list[tuple[object, ...]]:
    rows = Holding.objects.filter(portfolio__user=user).order_by("portfolio__name", "stock")
    return list(rows.values_list("portfolio__name", "stock__symbol", "shares", "buy_price"))


@pytest.mark.parametrize("kind", ["holdings", "values"])
def test_an_export_imports_again_to_the_same_portfolios(kind, owner, user, django_user_model):
    PriceBar.objects.create(stock=Stock.objects.get(symbol="AAPL"), date=date(2026, 11, 20), close=200)
    answer = owner.get(f"/portfolios/export/{kind}.csv")
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert answer["Content-Disposition"] == f'attachment; filename="{kind}.csv"'
    assert not import_file(read_file(answer.content), user).changes_something
    other = django_user_model.objects.create_user("other")
    import_file(read_file(answer.content), other)
    assert held(other) == held(user)


def test_a_single_portfolio_keeps_its_name(owner, user, django_user_model):
    Portfolio.objects.get(name="=Pension").delete()
    other = django_user_model.objects.create_user("other")
    import_file(read_file(owner.get("/portfolios/export/holdings.csv").content), other)
    assert [portfolio.name for portfolio in other.portfolios.all()] == ["Savings"]


def test_nobody_exports_the_holdings_of_others(owner, hold, django_user_model):
    hold(django_user_model.objects.create_user("other"), "SECRET")
    for kind in ("holdings", "values"):
        rows = list(csv.reader(io.StringIO(owner.get(f"/portfolios/export/{kind}.csv").content.decode("utf-8-sig"))))
        assert len(rows) == 5
        assert not any("SECRET" in row for row in rows)
    assert owner.get("/portfolios/export/others.csv").status_code == 404
    assert Client().get("/portfolios/export/values.csv").status_code == 302


def test_the_portfolio_page_offers_both_exports_to_those_who_hold_something(owner, client, django_user_model):
    assert "/portfolios/export/holdings.csv" in owner.get("/").content.decode()
    client.force_login(django_user_model.objects.create_user("other"))
    assert "/portfolios/export/" not in client.get("/").content.decode()
