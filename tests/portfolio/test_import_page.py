"""An owner imports the file of a broker: a preview first, then the confirmed changes, into the own portfolios only."""

import re
from html import unescape

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from market.models import SecurityNumber
from portfolio.imports.uploads import LARGEST_UPLOAD
from portfolio.models import AssignedColumns, Holding, Portfolio
from tasks.models import Job
from tests.support.import_files import PLAIN
from tests.support.import_page import shares, text

pytestmark = pytest.mark.django_db

PAGE = "/portfolios/import/"
DEGIRO = (
    "Product,Symbol/ISIN,Amount,Closing,Local value,,Value in EUR\n"
    'APPLE INC,US0378331005,7,"101,50",USD,"710,50","651,00"\nSAP SE,DE0007164600,2,"101,50",EUR,"203,00","203,00"\n'
)
CHINESE = "代码,数量,成本\nAAPL,10,150\nMSFT,2,\n"


def choose(client: Client, content: str, portfolio: str = ""):
    file = SimpleUploadedFile("my.csv", content.encode(), "text/csv")
    return client.post(PAGE, {"portfolio": portfolio, "file": file})


def go_on(client: Client, page, button: str, fields: dict[str, str] | None = None, *, follow: bool = False):
    """Press a button of a preview, with what was typed."""
    sealed = re.search(r'name="sealed" value="([^"]+)"', text(page))
    assert sealed
    return client.post(PAGE, {"sealed": sealed[1], button: "", **(fields or {})}, follow=follow)


def words(page) -> str:
    """The text of a page."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", text(page))).split())


def test_a_new_owner_is_led_to_the_import(owner):
    assert f'<a href="{PAGE}">Import a file of your broker</a>' in text(owner.get("/"))
    assert "Preview the changes" in text(owner.get(PAGE))


def test_the_preview_changes_nothing_and_the_confirmation_imports_and_fetches(owner, user):
    preview = choose(owner, PLAIN + "AAPL,10,150\nTOTAL,10,1500\n")
    for told in (
        "The portfolio “Main” is created.",
        "nothing is removed",
        "To be added: 1 line 2: AAPL, 10 at 150",
        "Notes: 1 line 3: TOTAL, left out: it is a total",
    ):
        assert told in words(preview)
    assert not Portfolio.objects.exists()
    page = go_on(owner, preview, "confirm", follow=True)
    assert "Imported my.csv: 1 added; 0 unchanged; 1 note." in words(page)
    assert shares(user) == {"AAPL": "10"}
    (job,) = Job.objects.filter(job_type=Job.Type.STOCK_FETCH)
    assert (job.symbol, job.queue, job.user) == ("AAPL", "foreground", user)


def test_several_accounts_become_portfolios(owner, user):
    preview = choose(owner, "Account,Symbol,Shares,Cost Basis\nSavings,AAPL,10,1500\nPension,AAPL,5,100\n")
    assert "To be added in Savings: 1" in words(preview)
    go_on(owner, preview, "confirm")
    assert (shares(user, "Savings"), shares(user, "Pension")) == ({"AAPL": "10"}, {"AAPL": "5"})


def test_a_changed_portfolio_is_previewed_again(owner, user, hold):
    preview = choose(owner, PLAIN + "AAPL,10,150\n")
    hold(user, "AAPL")
    again = go_on(owner, preview, "confirm")
    assert "The portfolio has changed since the preview." in words(again)
    assert "To be changed: 1 line 2: AAPL, 10 at 150 (was 10 at 1)" in words(again)
    go_on(owner, again, "confirm")
    assert Holding.objects.get().buy_price == 150


def test_a_stock_without_a_symbol_gets_one_from_the_owner_for_this_and_later_files(owner, user):
    preview = choose(owner, DEGIRO)
    assert "US0378331005, APPLE INC (line 2)" in words(preview)
    wrong = go_on(owner, preview, "preview", {"symbol-US0378331005": "<b>"})
    assert "'<b>' is not a symbol" in words(wrong)
    preview = go_on(owner, wrong, "preview", {"symbol-US0378331005": "aapl"})
    assert "To be added: 1 line 2: AAPL, 7 at an unknown buy price" in words(preview)
    assert "DE0007164600, SAP SE (line 3)" in words(preview)
    go_on(owner, preview, "confirm")
    assert shares(user) == {"AAPL": "7"}
    assert "line 2: AAPL, 8 at" in words(choose(owner, DEGIRO.replace(",7,", ",8,")))
    assert not SecurityNumber.objects.exists()  # nobody else gets what an owner has typed


def test_what_one_owner_assigns_is_not_used_for_another(owner, client, django_user_model):
    go_on(owner, choose(owner, DEGIRO), "preview", {"symbol-US0378331005": "AAPL"})
    go_on(owner, choose(owner, CHINESE), "assign", {"column-0": "SYMBOL", "column-1": "SHARES"})
    other = Client()
    other.force_login(django_user_model.objects.create_user("other"))
    assert "US0378331005, APPLE INC (line 2)" in words(choose(other, DEGIRO))
    assert "Say what the columns hold" in words(choose(other, CHINESE))


def test_unknown_columns_are_assigned_once(owner, user):
    page = choose(owner, CHINESE)
    assert "Say what the columns hold" in words(page)
    assert "AAPL, MSFT" in words(page)
    for fields, problem in (
        ({"column-1": "SHARES"}, "Choose the column with the symbols"),
        ({"column-0": "SYMBOL"}, "Choose the column with the shares."),
        ({"column-0": "SHARES", "column-1": "SHARES"}, "Two columns have the same meaning"),
    ):
        page = go_on(owner, page, "assign", fields)
        assert problem in words(page)
    assert not AssignedColumns.objects.exists()
    preview = go_on(owner, page, "assign", {"column-0": "SYMBOL", "column-1": "SHARES", "column-2": "BUY_PRICE"})
    assert "line 2: AAPL, 10 at 150 line 3: MSFT, 2 at an unknown buy price" in words(preview)
    go_on(owner, preview, "confirm")
    assert shares(user) == {"AAPL": "10", "MSFT": "2"}
    assert "line 2: AAPL, 11 at 150 (was 10 at 150)" in words(choose(owner, CHINESE.replace("10", "11")))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (PLAIN + "AAPL,ten,1\n", "line 2: shares 'ten' is not a number"),
        (PLAIN, "the file has only a header"),
        ("", "The submitted file is empty."),
        ("x" * (LARGEST_UPLOAD + 1), "at most 1,800,000 can be uploaded"),
        ("\n\n", "the file is empty"),
        ("%PDF-1.7", "this is a PDF"),
        (PLAIN + "<script>,1,2\n", "'<script>' is not a symbol"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_the_reason(content, problem, owner):
    page = choose(owner, content)
    assert problem in words(page)
    assert "<script>," not in text(page)
    assert not Portfolio.objects.exists()


def test_a_preview_of_somebody_else_is_not_imported(owner, django_user_model):
    preview = choose(owner, PLAIN + "AAPL,10,150\n")
    other = Client()
    other.force_login(django_user_model.objects.create_user("other"))
    assert "The preview is no longer valid" in words(go_on(other, preview, "confirm", follow=True))
    assert not Portfolio.objects.exists()


def test_nobody_imports_without_a_login(client):
    assert client.get(PAGE).url == f"/accounts/login/?next={PAGE}"
    assert choose(client, PLAIN + "AAPL,1,2\n").status_code == 302
    assert not Portfolio.objects.exists()


def test_the_largest_new_stocks_of_a_large_file_are_fetched_at_once(client, user, monkeypatch):
    monkeypatch.setattr("portfolio.fetching.FETCHED_AT_ONCE", 2)
    client.force_login(user)
    preview = client.post(
        PAGE, {"file": SimpleUploadedFile("my.csv", b"symbol,shares,buy_price\nA,1,1\nB,9,1\nC,5,1\n")}
    )
    answer = client.post(PAGE, {"sealed": preview.context["sealed"], "confirm": ""}, follow=True)
    assert "The prices of 1 more follow in the background." in answer.content.decode()
    assert list(Job.objects.order_by("created_at").values_list("symbol", flat=True)) == ["B", "C"]
