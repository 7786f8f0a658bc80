"""The admin's page "Fetch": each of its forms, what it refuses and where it says so, and who may use it."""

import html
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from market.models import Stock
from operations.monitoring import health
from operations.monitoring.health import Readiness
from portfolio.models import Portfolio
from tasks.models import Job, JobGroup
from tasks.running.execute import run_job
from tests.support.jobs import new_job

pytestmark = pytest.mark.django_db

PAGE = "/admin/operations/fetch/"
CHOICES = f"{PAGE}portfolios/"
DAYS = {"start": "2024-01-01", "end": "2024-01-31", "mode": "gaps"}


@pytest.fixture
def submit(admin_client: Client) -> Callable[..., Any]:
    """submit("symbol", symbol="AAPL"): what the page answers to this form."""
    return lambda form, **fields: post(admin_client, form, **fields)


def post(client: Client, form: str, **fields: Any) -> Any:
    sent = {name if name == "confirmed" else f"{form}-{name}": value for name, value in fields.items()}
    return client.post(PAGE, {"form": form, **sent})


@pytest.fixture
def staff(client: Client, django_user_model: type[User]) -> User:
    """A member of the staff who may add jobs and nothing else, logged in at `client`."""
    member = django_user_model.objects.create_user("staff", is_staff=True)
    allow(member, "add_job")
    client.force_login(member)
    return member


def allow(member: User, *codenames: str) -> None:
    member.user_permissions.add(*Permission.objects.filter(codename__in=codenames))


@pytest.fixture
def main(user: User, hold: Callable[..., Any]) -> Portfolio:
    """A portfolio of two stocks."""
    hold(user, "AAPL", "MSFT")
    return Portfolio.objects.get()


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers that answer: the page "Stock data" looks at them first."""
    monkeypatch.setattr(health, "readiness", lambda: Readiness("", {"database": health.OK, "broker": health.OK}))


def words(answer: Any) -> str:
    """The text of a page, without tags."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", answer.content.decode())).split())


def errors(answer: Any) -> dict[str, list[str]]:
    """What the forms complain about, by field."""
    assert answer.status_code == 200
    found: dict[str, list[str]] = {}
    for form in answer.context["forms"].values():
        found |= {f"{form.prefix}.{name}": list(messages) for name, messages in form.errors.items()}
    return found


def progress() -> str:
    return f"/admin/tasks/jobgroup/{JobGroup.objects.get().pk}/change/"


def logged() -> set[tuple[str, str, int, str]]:
    rows = LogEntry.objects.values_list("content_type__model", "object_repr", "action_flag", "change_message")
    return set(rows)


# One symbol


def test_a_symbol_is_queued_with_priority_3_and_leads_to_its_progress(submit, admin_client, admin_user):
    Stock.objects.create(symbol="AAPL")
    answer = submit("symbol", symbol=" aapl ")
    assert answer.url == progress()
    job = Job.objects.get()
    assert (job.symbol, job.trigger, job.priority, job.queue) == ("AAPL", "user_request", 3, "foreground")
    assert job.user == admin_user
    assert "Queued AAPL." in words(admin_client.get(answer.url))
    assert logged() == {
        ("jobgroup", "Fetch of AAPL", ADDITION, "Fetch of AAPL."),
        ("stock", "AAPL", CHANGE, "Fetch of AAPL."),
    }


def test_a_symbol_that_is_not_known_yet_is_added(submit):
    assert submit("symbol", symbol="BRK.B").url == progress()
    assert Stock.objects.get().symbol == "BRK-B"
    assert ("stock", "BRK-B", ADDITION, "Added for a fetch.") in logged()


def test_a_symbol_that_is_on_its_way_is_joined(submit, admin_client, user):
    job = new_job("AAPL", user=user)
    answer = submit("symbol", symbol="AAPL")
    assert "Already requested: AAPL." in words(admin_client.get(answer.url))
    assert list(JobGroup.objects.get().jobs.all()) == [job]
    assert Job.objects.count() == 1


def test_from_the_form_to_the_bars(submit, admin_client, yahoo):
    yahoo.serve("AAPL", days=20)
    page = submit("symbol", symbol="AAPL").url
    run_job(Job.objects.get().pk, "worker")
    shown = words(admin_client.get(page))
    assert "1 of 1 ended" in shown
    assert "AAPL completed updated: 20 of 20 bars stored" in shown


@pytest.mark.parametrize(
    ("typed", "complaint"),
    [
        ("", "This field is required."),
        ("   ", "This field is required."),
        ("S&P 500", "'S&P 500' is not a symbol; a symbol starts with a letter, a digit or ^, followed by"),
        ("AAPL\x00", "Null characters are not allowed."),
        ("<b>", "'<b>' is not a symbol"),
        ("é\u0131", "'é\u0131' is not a symbol"),
        ("A" * 33, f"'{'A' * 32}…' is 33 characters long; a symbol has at most 32."),
    ],
)
def test_a_wrong_symbol_is_refused_at_its_field(submit, typed, complaint):
    answer = submit("symbol", symbol=typed)
    (only,) = errors(answer)["symbol.symbol"]
    assert only.startswith(complaint)
    assert html.unescape(answer.content.decode()).count(only) == 1
    assert not Job.objects.exists()
    assert not Stock.objects.exists()
    assert not LogEntry.objects.exists()


# A portfolio


def test_a_portfolio_is_fetched_fresh_or_not(submit, admin_client, main, user):
    Stock.objects.update(checked_at=timezone.now())
    answer = submit("portfolio", portfolio=main.pk)
    assert answer.url == progress()
    assert "Queued AAPL, MSFT." in words(admin_client.get(answer.url))
    assert set(Job.objects.values_list("symbol", "priority")) == {("AAPL", 3), ("MSFT", 3)}
    what = f"Fetch of Main of {user}"
    assert logged() == {("jobgroup", what, ADDITION, f"{what}."), ("portfolio", "Main", CHANGE, f"{what}.")}


def test_an_empty_portfolio_one_that_is_not_there_and_none_are_refused(submit, user):
    empty = Portfolio.objects.create(user=user, name="Empty")
    assert errors(submit("portfolio", portfolio=empty.pk)) == {
        "portfolio.portfolio": [f"Empty of {user} holds nothing."]
    }
    for value in (empty.pk + 1, "x", "9" * 30):
        (complaint,) = errors(submit("portfolio", portfolio=value))["portfolio.portfolio"]
        assert complaint.startswith("Select a valid choice.")
    assert errors(submit("portfolio")) == {"portfolio.portfolio": ["This field is required."]}
    assert not JobGroup.objects.exists()


def test_portfolios_are_found_by_their_names_and_their_users_names(admin_client, django_user_model):
    for name in ("anna", "berta"):
        someone = django_user_model.objects.create_user(name)
        for portfolio in ("Main", "Pension"):
            Portfolio.objects.create(user=someone, name=portfolio)

    def found(term: str) -> list[str]:
        return [one["text"] for one in admin_client.get(CHOICES, {"term": term}).json()["results"]]

    assert found("") == ["Main of anna", "Pension of anna", "Main of berta", "Pension of berta"]
    assert found("berta") == ["Main of berta", "Pension of berta"]
    assert found("pension anna") == ["Pension of anna"]
    assert found("nobody") == []


def test_the_form_keeps_the_portfolio_that_was_chosen(submit, main, user):
    shown = submit("backfill", portfolio=main.pk, start="", mode="gaps").content.decode()
    assert re.search(rf'<option value="{main.pk}" selected>\s*Main of {user}', shown)


def test_choices_take_few_queries_however_many_portfolios(admin_client, django_user_model):
    def ask(name: str) -> int:
        Portfolio.objects.create(user=django_user_model.objects.create_user(name), name="Main")
        with CaptureQueriesContext(connection) as queries:
            admin_client.get(CHOICES)
        return len(queries)

    few = ask("one")
    assert [ask(f"more{number}") for number in range(5)] == [few] * 5


# A backfill


def test_a_backfill_is_queued_once_its_cost_was_shown(submit, admin_client):
    Stock.objects.create(symbol="AAPL")
    asked = {"symbols": "aapl, msft\nBRK.B  aapl;", **DAYS}
    shown = submit("backfill", **asked)
    assert "3 requests: less than a minute at the background share" in words(shown)
    assert "BRK-B: 23 sessions without a bar" in words(shown)
    assert not Job.objects.exists()
    assert Stock.objects.count() == 1
    answer = submit("backfill", **asked, confirmed=shown.context["fingerprint"])
    assert answer.url == progress()
    assert "Queued AAPL, MSFT, BRK-B." in words(admin_client.get(answer.url))
    jobs = Job.objects.all()
    assert {job.symbol for job in jobs} == {"AAPL", "MSFT", "BRK-B"}
    assert {(job.queue, job.parameters["start"], job.parameters["end"], job.parameters["mode"]) for job in jobs} == {
        ("background_fetch", "2024-01-01", "2024-01-31", "gaps")
    }
    what = "Backfill of AAPL, MSFT, BRK-B, 2024-01-01 to 2024-01-31, gaps"
    assert {("jobgroup", what, ADDITION, f"{what}."), ("stock", "AAPL", CHANGE, f"{what}.")} < logged()
    assert {repr for model, repr, flag, _ in logged() if model == "stock" and flag == ADDITION} == {"MSFT", "BRK-B"}


@pytest.mark.parametrize("exchange", ["TLV", "NSI", "SHH"])
def test_a_stock_whose_calendar_does_not_know_all_days_is_backfilled(submit, exchange):
    Stock.objects.create(symbol="OLD", exchange=exchange)
    shown = submit("backfill", symbols="OLD", start="2015-01-01", end="", mode="gaps")
    assert shown.context["cost"].missing["OLD"] > 1_000


def test_a_portfolio_is_backfilled_too(submit, main, user):
    asked = {"portfolio": main.pk, "start": "2024-01-01", "end": "", "mode": "update"}
    fingerprint = submit("backfill", **asked).context["fingerprint"]
    assert submit("backfill", **asked, confirmed=fingerprint).url == progress()
    assert Job.objects.count() == 2
    what = f"Backfill of Main of {user}, 2024-01-01 to {timezone.now().date()}, update"
    assert logged() == {("jobgroup", what, ADDITION, f"{what}."), ("portfolio", "Main", CHANGE, f"{what}.")}


def test_what_was_not_shown_is_not_queued_but_shown(submit, main, user, hold):
    asked = {"portfolio": main.pk, **DAYS}
    fingerprint = submit("backfill", **asked).context["fingerprint"]
    for changed in ({"start": "2023-01-01"}, {"mode": "replace"}, {"portfolio": "", "symbols": "AAPL"}):
        shown = submit("backfill", **{**asked, **changed}, confirmed=fingerprint)
        assert "The form has changed since the preview, and nothing was queued." in words(shown)
    hold(user, "GOOG")
    shown = submit("backfill", **asked, confirmed=fingerprint)
    assert "GOOG: 23 sessions without a bar" in words(shown)
    assert not Job.objects.exists()
    assert submit("backfill", **asked, confirmed=shown.context["fingerprint"]).url == progress()


TODAY = timezone.now().date()
SYMBOL_NEEDED = "A symbol is needed, such as AAPL or BRK-B, or a portfolio."


@pytest.mark.parametrize(
    ("fields", "field", "complaint"),
    [
        ({"start": "2024-02-01"}, "start", "2024-02-01 is after 2024-01-31; choose an earlier first day."),
        ({"end": str(TODAY + timedelta(days=2))}, "end", "is in the future; the latest day is"),
        ({"start": str(TODAY + timedelta(days=2)), "end": ""}, "start", "is in the future; the latest day is"),
        ({"start": "1900-01-01"}, "start", "1900-01-01 is more than 60 years before 2024-01-31; the earliest is"),
        ({"start": ""}, "start", "This field is required."),
        ({"start": "yesterday"}, "start", "Enter a valid date."),
        ({"end": "2024-02-30"}, "end", "Enter a valid date."),
        ({"mode": "holes"}, "mode", "Select a valid choice. holes is not one of the available choices."),
        ({"symbols": ""}, "symbols", SYMBOL_NEEDED),
        ({"symbols": " , ;\n"}, "symbols", SYMBOL_NEEDED),
        ({"symbols": "AAPL, MS FT?"}, "symbols", "'FT?' is not a symbol"),
        ({"symbols": "A" * 33}, "symbols", "is 33 characters long; a symbol has at most 32."),
    ],
)
def test_what_makes_no_sense_is_refused_where_it_was_entered(submit, fields, field, complaint):
    answer = submit("backfill", **{"symbols": "AAPL", **DAYS, **fields}, confirmed="whatever")
    found = errors(answer)
    assert list(found) == [f"backfill.{field}"]
    assert complaint in found[f"backfill.{field}"][0]
    assert complaint in html.unescape(answer.content.decode())
    assert "cost" not in answer.context
    assert not Job.objects.exists()
    assert not Stock.objects.exists()


def test_symbols_and_a_portfolio_are_not_taken_together_and_an_empty_one_is_refused(submit, main, user):
    found = errors(submit("backfill", symbols="AAPL", portfolio=main.pk, **DAYS))
    assert found == {"backfill.portfolio": ["Give symbols or a portfolio, not both."]}
    empty = Portfolio.objects.create(user=user, name="Empty")
    found = errors(submit("backfill", portfolio=empty.pk, **DAYS))
    assert found == {"backfill.portfolio": [f"Empty of {user} holds nothing."]}


def test_of_many_wrong_symbols_the_first_are_named_and_the_others_counted(submit):
    found = errors(submit("backfill", symbols=" ".join(f"?{number}" for number in range(9)), **DAYS))
    complaints = found["backfill.symbols"]
    assert complaints[0].startswith("'?0' is not a symbol")
    assert complaints[-1] == "and 4 more"
    assert len(complaints) == 6


def test_more_text_than_the_field_takes_is_refused(submit):
    found = errors(submit("backfill", symbols=" ".join(f"S{n}" for n in range(5_000)), **DAYS))
    assert found["backfill.symbols"][0].startswith("Ensure this value has at most 20000 characters")


def test_the_number_of_queries_of_a_preview_does_not_grow(admin_client):
    def ask(*symbols: str) -> int:
        Stock.objects.find_or_create(symbols)
        with CaptureQueriesContext(connection) as queries:
            assert "cost" in post(admin_client, "backfill", symbols=" ".join(symbols), **DAYS).context
        return len(queries)

    assert ask("ONE") == ask(*(f"S{number}" for number in range(50))) < 12


# The page


def test_a_reload_of_what_a_form_led_to_queues_nothing(submit, admin_client):
    page = submit("symbol", symbol="AAPL").url
    for _ in range(2):
        assert admin_client.get(page).status_code == 200
    assert (Job.objects.count(), JobGroup.objects.count()) == (1, 1)
    submit("symbol", symbol="AAPL")  # the form itself, sent again by going back
    assert (Job.objects.count(), JobGroup.objects.count()) == (1, 2)


def test_what_was_typed_into_one_form_leaves_the_others_alone(submit):
    answer = submit("backfill", symbols="AAPL", **{**DAYS, "start": ""})
    assert set(errors(answer)) == {"backfill.start"}
    assert "AAPL" in answer.content.decode()


def test_the_navigation_and_the_page_stock_data_lead_to_it(admin_client, servers):
    for address in ("/admin/", "/admin/operations/stockdata/"):
        assert f'href="{PAGE}"' in admin_client.get(address).content.decode()
    shown = admin_client.get(PAGE).content.decode()
    sources = re.findall(r'<(?:script|link)[^>]*\b(?:src|href)="([^"]*)"', shown)
    assert all(source.startswith(("/static/", "/admin/jsi18n/")) for source in sources)


def test_each_field_has_a_label_and_each_form_a_heading(admin_client):
    shown = admin_client.get(PAGE).content.decode()
    fields = re.findall(r'<(?:input|textarea|select)\b[^>]*\bid="(id_[^"]+)"', shown)
    assert len(fields) >= 7
    assert all(f'for="{field}"' in shown for field in fields)
    headings = re.findall(r'aria-labelledby="(\w+-heading)"', shown)
    assert len(headings) == 3
    assert all(f'id="{heading}"' in shown for heading in headings)


# Who may use it


def test_without_the_permission_to_add_jobs_there_is_no_page(client, servers, django_user_model):
    someone = django_user_model.objects.create_user("someone", is_staff=True)
    allow(someone, "view_stockdata", "view_job", "view_portfolio")
    client.force_login(someone)
    assert client.get(PAGE).status_code == 403
    assert post(client, "symbol", symbol="AAPL").status_code == 403
    assert client.get(CHOICES).status_code == 403
    for address in ("/admin/", "/admin/operations/stockdata/"):
        assert f'href="{PAGE}"' not in client.get(address).content.decode()
    assert not Job.objects.exists()


def test_a_visitor_is_led_to_the_login(client):
    for address in (PAGE, CHOICES):
        assert client.get(address).url == f"/admin/login/?next={address}"
    assert post(client, "symbol", symbol="AAPL").status_code == 302
    assert not Job.objects.exists()


def test_who_may_add_jobs_fetches_stocks_that_are_known_and_follows_them(client, staff):
    Stock.objects.create(symbol="AAPL")
    assert f'href="{PAGE}"' in client.get("/admin/").content.decode()
    answer = post(client, "symbol", symbol="AAPL")
    assert answer.url == progress()
    assert client.get(answer.url).status_code == 200
    assert Job.objects.get().user == staff


def test_a_new_stock_takes_the_permission_to_add_stocks(client, staff):
    Stock.objects.create(symbol="AAPL")
    complaint = "New stocks: ZZ; you need the permission to add stocks."
    assert errors(post(client, "symbol", symbol="ZZ")) == {"symbol.symbol": [complaint]}
    found = errors(post(client, "backfill", symbols="AAPL ZZ", **DAYS))
    assert found == {"backfill.symbols": [complaint]}
    assert not Stock.objects.filter(symbol="ZZ").exists()
    allow(staff, "add_stock")
    assert post(client, "symbol", symbol="ZZ").url == progress()


@pytest.mark.parametrize("missing", ["view_portfolio", "view_holding"])
def test_portfolios_take_the_permissions_to_see_them_and_what_they_hold(client, staff, main, missing):
    allow(staff, *({"view_portfolio", "view_holding"} - {missing}))
    assert set(client.get(PAGE).context["forms"]) == {"symbol", "backfill"}
    assert "portfolio" not in client.get(PAGE).context["forms"]["backfill"].fields
    assert client.get(CHOICES).status_code == 403
    assert post(client, "portfolio", portfolio=main.pk).status_code == 403
    found = errors(post(client, "backfill", portfolio=main.pk, **DAYS))
    assert found == {"backfill.symbols": ["A symbol is needed, such as AAPL or BRK-B."]}
    assert not Job.objects.exists()
    allow(staff, missing)
    assert client.get(CHOICES).status_code == 200
    assert post(client, "portfolio", portfolio=main.pk).url == progress()


def test_without_a_csrf_token_nothing_happens(admin_user):
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(admin_user)
    assert post(strict, "symbol", symbol="AAPL").status_code == 403
    assert not Job.objects.exists()


def test_a_form_that_the_page_does_not_have_is_refused(submit):
    assert submit("everything").status_code == 403
    assert submit("").status_code == 403


def test_a_get_queues_nothing(admin_client):
    answer = admin_client.get(PAGE, {"form": "symbol", "symbol-symbol": "AAPL"})
    assert answer.status_code == 200
    assert not Job.objects.exists()
