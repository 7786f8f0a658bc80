"""Portfolios come as CSV files in the admin: a preview first, then the whole file or nothing."""

import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection, transaction
from django.test import Client

from market.models import Stock
from operations.local.child_processes import wait_until
from portfolio.imports.uploads import LARGEST_UPLOAD
from portfolio.models import Holding, Portfolio
from tests.support.import_files import PLAIN
from tests.support.import_page import LIST, PAGE, confirm, shares, text, upload

pytestmark = pytest.mark.django_db

STATES = (
    "Date,Ticker,Shares,Buy Price,Cost Basis,Stop Loss,Current Price,Total Value,PnL,Action,"
    "Cash Balance,Total Equity\n"
)
TRADES = "Date,Ticker,Shares Bought,Buy Price,Cost Basis,PnL,Reason,Shares Sold,Sell Price\n"


def state(*symbols: str) -> str:
    """A portfolio as it stands, with one share of each."""
    return STATES + "".join(f"2026-01-05,{symbol},1,2,2,,,,,,,\n" for symbol in symbols)


MAY_IMPORT = (
    *("portfolio.add_portfolio", "portfolio.change_portfolio"),
    *("portfolio.add_holding", "portfolio.change_holding"),
)


def test_the_list_of_portfolios_leads_to_the_import(admin_client):
    assert PAGE in text(admin_client.get(LIST))
    shown = text(admin_client.get(PAGE))
    assert "chatgpt_portfolio_update.csv" in shown
    assert "/admin/autocomplete/" in shown


def test_the_preview_tells_each_line_and_imports_nothing(admin_client, user, hold):
    hold(user, "ABEO", "CADL", "MSFT")
    before = list(Holding.objects.order_by("pk").values())
    shown = text(
        upload(
            admin_client,
            user,
            STATES + "2026-01-05,ABEO,10,3,,,,,,,,\n2026-01-05,IINN,5,1,,,,,,,,\n2026-01-05,CADL,7,2,,,,,,,,\n",
        )
    )
    for told in (
        "my.csv: portfolio update of 2026-01-05, 3 positions",
        f"For the portfolio “Main” of {user.username}",
        "holdings that are not in the file are removed",
        "New stocks, which are created: IINN.",
        "To be added: 1",
        "line 3: IINN, 5 at 1",
        "To be changed: 1",
        "line 4: CADL, 7 at 2 (was 10 at 2)",
        "To be removed: 1",
        "MSFT, 10 at 1: not in the file",
        "Unchanged: 1",
        "line 2: ABEO, 10 at 3",
    ):
        assert told in shown
    assert list(Holding.objects.order_by("pk").values()) == before
    assert not Stock.objects.filter(symbol="IINN").exists()
    assert not LogEntry.objects.exists()


def test_the_preview_tells_which_lines_are_left_out_and_the_others_are_imported(admin_client, user):
    preview = upload(admin_client, user, PLAIN + "AAPL,1,2\nTotal,1,2\nUS0378331005,1,2\nMSFT,3,\n")
    for told in (
        "Notes: 2",
        "line 3: Total, left out: it is a total",
        "line 4: US0378331005, left out: it is an ISIN, not a symbol; write the symbol, such as AAPL",
        "line 5: MSFT, 3 at an unknown buy price",
    ):
        assert told in text(preview)
    confirm(admin_client, preview)
    assert shares(user) == {"AAPL": "1", "MSFT": "3"}
    assert LogEntry.objects.get().get_change_message().endswith("2 added; 0 unchanged; 2 notes.")


def test_what_was_confirmed_is_imported_and_logged(admin_client, admin_user, user, hold):
    hold(user, "ABEO", "MSFT")
    answer = confirm(admin_client, upload(admin_client, user, state("ABEO", "IINN")))
    portfolio = Portfolio.objects.get()
    assert answer.url == LIST
    assert shares(user) == {"ABEO": "1", "IINN": "1"}
    done = f"Imported my.csv into Main of {user.username}: 1 added, 1 changed, 1 removed; 0 unchanged."
    assert done in text(admin_client.get(answer.url))
    entry = LogEntry.objects.get()
    assert (entry.user, entry.object_id, entry.action_flag) == (admin_user, str(portfolio.pk), CHANGE)
    assert entry.get_change_message() == (
        "Imported my.csv (portfolio update of 2026-01-05, 2 positions): 1 added, 1 changed, 1 removed; 0 unchanged."
    )


def test_a_portfolio_that_the_user_does_not_have_is_created(admin_client, user):
    preview = upload(admin_client, user, PLAIN + "AAPL,1,2\n", "Savings")
    assert "which will be created" in text(preview)
    assert not Portfolio.objects.exists()
    confirm(admin_client, preview)
    assert shares(user, "Savings") == {"AAPL": "1"}
    assert LogEntry.objects.get().action_flag == ADDITION


@pytest.mark.parametrize(
    "content",
    [state("AAPL"), PLAIN + "AAPL,1,2\n", TRADES + "2026-01-05,AAPL,1,2,2,0,MANUAL BUY,,\n"],
    ids=["states", "plain", "trades"],
)
def test_a_second_import_finds_nothing_to_change(content, admin_client, user):
    confirm(admin_client, upload(admin_client, user, content))
    again = upload(admin_client, user, content)
    assert "No changes" in text(again)
    assert "To be" not in text(again)
    assert again.context["sealed"] == ""


def test_a_second_click_on_import_changes_nothing(admin_client, user):
    preview = upload(admin_client, user, state("AAPL"))
    confirm(admin_client, preview)
    again = text(confirm(admin_client, preview))
    assert "No changes" in again
    assert "has changed since the preview" not in again
    assert LogEntry.objects.count() == 1


def test_a_portfolio_that_changed_since_the_preview_is_previewed_anew(admin_client, user, hold):
    preview = upload(admin_client, user, state("AAPL"))
    hold(user, "MSFT")
    again = confirm(admin_client, preview)
    assert "The portfolio has changed since the preview, and nothing was imported." in text(again)
    assert "MSFT, 10 at 1: not in the file" in text(again)
    assert shares(user) == {"MSFT": "10"}
    confirm(admin_client, again)
    assert shares(user) == {"AAPL": "1"}


def test_nothing_but_what_was_previewed_can_be_confirmed(admin_client, user, django_user_model):
    other = django_user_model.objects.create_user("other")
    preview = upload(admin_client, user, PLAIN + "AAPL,1,2\n")
    confirm(
        admin_client,
        preview,
        user=other.pk,
        portfolio="Other",
        file=SimpleUploadedFile("x.csv", (PLAIN + "MSFT,1,2\n").encode()),
    )
    assert shares(user) == {"AAPL": "1"}
    assert Portfolio.objects.count() == 1


@pytest.mark.parametrize(
    "spoil",
    [lambda _sealed: "", lambda sealed: sealed[::-1], lambda sealed: f"{sealed}x", lambda _sealed: "é:\0:x"],
    ids=["nothing", "backwards", "longer", "anything"],
)
def test_a_preview_that_was_tampered_with_is_refused(spoil, admin_client, user):
    sealed = upload(admin_client, user, PLAIN + "AAPL,1,2\n").context["sealed"]
    answer = admin_client.post(PAGE, {"sealed": spoil(sealed)}, follow=True)
    assert "The preview is no longer valid; upload the file again." in text(answer)
    assert not Portfolio.objects.exists()


def test_a_preview_counts_for_the_one_who_saw_it(admin_client, staff, user):
    preview = upload(admin_client, user, PLAIN + "AAPL,1,2\n")
    answer = confirm(staff(*MAY_IMPORT, "market.add_stock"), preview)
    assert answer.url == PAGE
    assert not Portfolio.objects.exists()


def test_a_preview_counts_for_an_hour(admin_client, user, monkeypatch):
    preview = upload(admin_client, user, PLAIN + "AAPL,1,2\n")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3_700)
    assert confirm(admin_client, preview).url == PAGE
    monkeypatch.setattr(time, "time", lambda: now + 3_500)
    assert confirm(admin_client, preview).url == LIST


def test_a_preview_for_a_user_who_is_gone_is_refused(admin_client, user):
    preview = upload(admin_client, user, PLAIN + "AAPL,1,2\n")
    user.delete()
    assert confirm(admin_client, preview).url == PAGE


PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "The submitted file is empty."),
        (PNG, "this is a picture, not a CSV file or an Excel workbook (.xlsx)"),
        (b"\x89\xff\xfe\n", "line 1: unknown columns"),
        ("a;b;c\n1;2;3\n", "line 1: unknown columns &#x27;a, b, c&#x27;; name the columns symbol, shares, buy_price"),
        (PLAIN, "the file has only a header"),
        (PLAIN + "AAPL,1,2\nMSFT,1,-2\n", "line 3: buy_price -2 is negative"),
        (PLAIN + "AAPL,1e300,2\n", "line 2: shares 1e300 is more than 1,000,000,000,000"),
        (PLAIN + "AAPL,NaN,2\n", "line 2: shares &#x27;NaN&#x27; is not a number"),
        (PLAIN + "=1+1,1,2\n", "line 2: &#x27;=1+1&#x27; is not a symbol"),
        (PLAIN + "@SUM(A1),1,2\n", "line 2: &#x27;@SUM(A1)&#x27; is not a symbol"),
        (PLAIN + "<script>,1,2\n", "line 2: &#x27;&lt;script&gt;&#x27; is not a symbol"),
        (PLAIN + '"AAPL,1,2\n', "line 2: this is not CSV"),
        (
            TRADES + "2026-01-05,AAPL,1000000000000,2,,,,,\n" * 2,
            "line 3: 2000000000000 AAPL are more than 1,000,000,000,000",
        ),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_its_lines(content, problem, admin_client, user):
    answer = upload(admin_client, user, content)
    assert answer.status_code == 200
    assert problem in text(answer)
    assert not Portfolio.objects.exists()


def test_every_wrong_line_is_told_up_to_a_thousand(admin_client, user):
    shown = text(upload(admin_client, user, PLAIN + "".join(f"S{number},x,1\n" for number in range(5_000))))
    assert "line 1001: shares &#x27;x&#x27; is not a number" in shown
    assert "line 1002" not in shown
    assert "and 4000 more" in shown


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"portfolio": "x" * 101}, "at most 100 characters"),
        ({"user": 0}, "Select a valid choice."),
        ({"user": "no key"}, "Select a valid choice."),
        ({"user": "9" * 30}, "Select a valid choice."),
    ],
)
def test_a_form_that_is_wrong_says_where(fields, problem, admin_client, user):
    file = SimpleUploadedFile("my.csv", (PLAIN + "AAPL,1,2\n").encode())
    shown = text(admin_client.post(PAGE, {"user": user.pk, "portfolio": "Main", "file": file, **fields}))
    assert problem in shown
    assert not Portfolio.objects.exists()


def test_a_form_without_a_file_says_so(admin_client, user):
    assert "This field is required." in text(admin_client.post(PAGE, {"user": user.pk, "portfolio": "Main"}))


def test_what_a_file_and_a_portfolio_are_called_is_never_html(admin_client, user):
    for content in (PLAIN + "AAPL,1,2\n", PLAIN):
        shown = text(upload(admin_client, user, content, "<b>bold</b>", "<i>me.csv"))
        assert "<b>bold" not in shown
        assert "<i>me" not in shown


@pytest.mark.parametrize(
    "content", ["später".encode("latin-1"), b"\xef\xbb\xbfsp\xc3\xa4ter"], ids=["Latin-1", "byte order mark"]
)
def test_files_come_from_many_programs(content, admin_client, user):
    mark, reason = (content[:3], content[3:]) if content.startswith(b"\xef") else (b"", content)
    file = mark + TRADES.encode() + b"2026-01-05,AAPL,1,2,2,0," + reason + b",,\n"
    confirm(admin_client, upload(admin_client, user, file))
    assert shares(user) == {"AAPL": "1"}


def test_5000_rows_are_imported(admin_client, user):
    rows = "".join(f"2026-01-05,S{number},1,2.5,2.5,,2.5,2.5,0,HOLD,,\n" for number in range(5_000))
    preview = upload(admin_client, user, STATES + rows)
    assert "line 1001: S999" in text(preview)
    assert "and 4000 more" in text(preview)
    confirm(admin_client, preview)
    assert Holding.objects.count() == 5_000


def test_the_largest_upload_can_be_confirmed_however_badly_it_compresses(admin_client, user):
    noise = random.Random(1)
    row = TRADES.encode()
    while len(row) < LARGEST_UPLOAD - 101_000:
        reason = bytes(noise.choices(range(0xA0, 0x100), k=100_000))
        row += b"2026-01-05,AAPL,1,2,2,0," + reason + b",,\n"
    preview = upload(admin_client, user, row)
    assert confirm(admin_client, preview).status_code == 302
    assert set(shares(user)) == {"AAPL"}


def test_a_file_that_is_too_large_is_refused(admin_client, user):
    shown = text(upload(admin_client, user, PLAIN + "x" * LARGEST_UPLOAD))
    assert "The file has 1,800,024 bytes; at most 1,800,000 can be uploaded." in shown
    assert not Portfolio.objects.exists()


@pytest.mark.parametrize("missing", MAY_IMPORT)
def test_an_import_needs_the_permissions_for_portfolios_and_holdings(missing, staff, user):
    client = staff(*(set(MAY_IMPORT) - {missing}), "portfolio.view_portfolio", "market.add_stock")
    assert PAGE not in text(client.get(LIST))
    assert client.get(PAGE).status_code == 403
    assert upload(client, user, PLAIN + "AAPL,1,2\n").status_code == 403
    assert not Portfolio.objects.exists()


def test_an_import_that_adds_stocks_needs_the_permission_to_add_them(staff, user):
    client = staff(*MAY_IMPORT)
    preview = upload(client, user, PLAIN + "AAPL,1,2\n")
    assert "would add new stocks (market.add_stock)" in text(preview)
    assert preview.context["sealed"] == ""
    Stock.objects.create(symbol="AAPL")
    confirm(client, upload(client, user, PLAIN + "AAPL,1,2\n"))
    assert shares(user) == {"AAPL": "1"}


def test_an_import_that_removes_holdings_needs_the_permission_to_delete_them(staff, user, hold):
    hold(user, "AAPL", "MSFT")
    client = staff(*MAY_IMPORT)
    assert "would remove holdings (portfolio.delete_holding)" in text(upload(client, user, state("AAPL")))
    assert set(shares(user)) == {"AAPL", "MSFT"}


def test_a_permission_that_was_withdrawn_since_the_preview_counts(staff, user):
    client = staff(*MAY_IMPORT, "market.add_stock")
    preview = upload(client, user, PLAIN + "AAPL,1,2\n")
    User.objects.get(username="staff").user_permissions.clear()
    assert confirm(client, preview).status_code == 403
    assert not Portfolio.objects.exists()


def test_an_import_takes_only_a_csrf_token(admin_user, user):
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)
    assert upload(client, user, PLAIN + "AAPL,1,2\n").status_code == 403


@pytest.mark.django_db(transaction=True)
def test_of_two_imports_at_once_one_comes_first_and_the_other_asks_again(admin_user, user, hold):
    hold(user, "CADL")
    clients = [Client(), Client()]
    for client in clients:
        client.force_login(admin_user)
    previews = [upload(client, user, state(symbol)) for client, symbol in zip(clients, ("AAPL", "MSFT"), strict=True)]

    def press(client: Client, preview) -> int:
        try:
            return confirm(client, preview).status_code
        finally:
            connection.close()

    def both_wait() -> bool:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            return cursor.fetchone()[0] >= 2

    with ThreadPoolExecutor(2) as threads:
        with transaction.atomic():
            Portfolio.objects.select_for_update().get()
            pressed = [threads.submit(press, *pair) for pair in zip(clients, previews, strict=True)]
            if connection.vendor == "postgresql":  # on SQLite, whoever writes waits before it reads
                wait_until(both_wait, "both imports wait")
        answers = sorted(one.result() for one in pressed)
    assert answers == [200, 302]
    assert shares(user) in ({"AAPL": "1"}, {"MSFT": "1"})
