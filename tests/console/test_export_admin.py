"""Portfolios are exported as CSV files in the admin, and can be imported again."""

import csv
import io
import zipfile
from datetime import date
from decimal import Decimal

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from market.models import PriceBar, Stock
from portfolio.files.reading import read_file
from portfolio.imports.changes import import_file
from portfolio.models import Holding, Portfolio
from tests.support.import_files import PLAIN
from tests.support.import_page import LIST, confirm, text, upload

pytestmark = pytest.mark.django_db


def export(client: Client, name: str, *chosen: Portfolio | Holding, of: str = "portfolio"):
    address = reverse(f"admin:portfolio_{of}_changelist")
    return client.post(address, {"action": name, "_selected_action": [one.pk for one in chosen]})


def table(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))


def test_what_was_exported_can_be_imported_again(admin_client, user, django_user_model):
    given = PLAIN + "^GSPC,0.00000001,0\nBRK-B,1000000000000,999999999999.99999999\nEURUSD=X,100,1.05\nM&M.NS,7.5,30\n"
    import_file(read_file(given.encode()), user)
    answer = export(admin_client, "export_as_csv", Portfolio.objects.get())
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert f'filename="{user.username}-Main-{Portfolio.objects.get().pk}.csv"' in answer["Content-Disposition"]
    other = django_user_model.objects.create_user("other")
    confirm(admin_client, upload(admin_client, other, answer.content))
    ours, theirs = (
        list(Holding.objects.filter(portfolio__user=one).order_by("stock").values_list("stock", "shares", "buy_price"))
        for one in (user, other)
    )
    assert ours == theirs
    assert len(ours) == 4
    assert "No changes" in text(upload(admin_client, user, answer.content))


def test_an_unknown_buy_price_is_empty_in_exports_and_unknown_again_after_an_import(admin_client, user):
    import_file(read_file((PLAIN + "AAPL,10,\n").encode()), user)
    PriceBar.objects.create(stock=Stock.objects.get(), date=date(2026, 11, 20), close=1.5)
    plain = export(admin_client, "export_as_csv", Portfolio.objects.get()).content
    assert table(plain) == [["symbol", "shares", "buy_price"], ["AAPL", "10", ""]]
    assert "No changes" in text(upload(admin_client, user, plain))
    row = table(export(admin_client, "export_with_values", *Portfolio.objects.all()).content)[1]
    assert row[5:] == ["10", "", "1.5", "2026-11-20", "15", ""]


def test_numbers_stay_numbers_and_symbols_are_sorted(admin_client, user):
    import_file(read_file((PLAIN + "MSFT,1000.50,2\nAAPL,1e3,0\n").encode()), user)
    answer = export(admin_client, "export_as_csv", Portfolio.objects.get())
    assert table(answer.content) == [["symbol", "shares", "buy_price"], ["AAPL", "1000", "0"], ["MSFT", "1000.5", "2"]]


def test_several_portfolios_come_as_a_zip_with_a_file_of_each(admin_client, user, hold, django_user_model):
    hold(user, "AAPL")
    hold(django_user_model.objects.create_user("other"), "MSFT")
    odd = Portfolio.objects.create(user=user, name="../<Été>/x")
    answer = export(admin_client, "export_as_csv", *Portfolio.objects.all())
    assert answer["Content-Type"] == "application/zip"
    packed = zipfile.ZipFile(io.BytesIO(answer.content))
    assert f"{user.username}-..Étéx-{odd.pk}.csv" in packed.namelist()
    assert sorted(table(packed.read(name))[1:] for name in packed.namelist()) == [
        [],
        [["AAPL", "10", "1"]],
        [["MSFT", "10", "1"]],
    ]


@pytest.mark.parametrize("of", ["portfolio", "holding"])
def test_the_values_of_all_that_was_chosen_come_in_one_table(of, admin_client, user, hold):
    apple, _microsoft = hold(user, "AAPL", "MSFT")
    Stock.objects.filter(pk=apple.pk).update(name="Apple Inc.", currency="USD")
    for day, close in ((19, 9.0), (20, 1.25)):
        PriceBar.objects.create(stock=apple, date=date(2026, 11, day), close=close)
    chosen = (Portfolio if of == "portfolio" else Holding).objects.all()
    answer = export(admin_client, "export_with_values", *chosen, of=of)
    assert table(answer.content) == [
        [
            "user",
            "portfolio",
            "symbol",
            "name",
            "currency",
            "shares",
            "buy_price",
            "close",
            "close_date",
            "value",
            "gain",
        ],
        [user.username, "Main", "AAPL", "Apple Inc.", "USD", "10", "2", "1.25", "2026-11-20", "12.5", "-7.5"],
        [user.username, "Main", "MSFT", "", "", "10", "1", "", "", "", ""],
    ]


@pytest.mark.parametrize(
    "dangerous", ["=1+1", "+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", '=HYPERLINK("http://x")', "\uff1d1"]
)
def test_a_cell_that_a_spreadsheet_would_run_is_text(dangerous, admin_client, user):
    stock = Stock.objects.create(symbol="AAPL", name=dangerous)
    Portfolio.objects.create(user=user, name="@Main").holdings.create(stock=stock, shares=Decimal(1), buy_price=0)
    row = table(export(admin_client, "export_with_values", *Portfolio.objects.all()).content)[1]
    assert row[1:4] == ["'@Main", "AAPL", f"'{dangerous}"]


def test_exports_take_the_same_number_of_queries_for_1_and_50_holdings(
    admin_client, user, hold, django_assert_max_num_queries
):
    hold(user, *(f"S{number}" for number in range(50)))
    for name in ("export_as_csv", "export_with_values"):
        with django_assert_max_num_queries(10):
            assert len(table(export(admin_client, name, Portfolio.objects.get()).content)) == 51


@pytest.mark.parametrize("name", ["export_as_csv", "export_with_values"])
def test_an_export_of_portfolios_needs_the_permission_to_see_their_holdings(name, staff, user, hold):
    hold(user, "AAPL")
    client = staff("portfolio.view_portfolio")
    assert b"AAPL" not in export(client, name, Portfolio.objects.get()).content
    assert "Export" not in text(client.get(LIST))
    User.objects.get(username="staff").user_permissions.add(Permission.objects.get(codename="view_holding"))
    assert "Export" in text(client.get(LIST))
    assert b"AAPL" in export(client, name, Portfolio.objects.get()).content


def test_who_may_not_see_holdings_exports_none(staff, user, hold):
    hold(user, "AAPL")
    answer = export(staff("portfolio.view_portfolio"), "export_with_values", *Holding.objects.all(), of="holding")
    assert answer.status_code == 403
