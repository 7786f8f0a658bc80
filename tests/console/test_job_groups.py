"""What somebody asked for at once: the page that follows it to its end, and who may see it."""

import html
import re
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from console.jobs.progress import SHOWN, Progress, progress_of
from market.jobs.requests import request_fetches
from market.models import Analysis, Stock
from portfolio.models import Portfolio
from tasks.enqueue import EnqueueResult
from tasks.groups import group_jobs
from tasks.models import Job, JobGroup
from tasks.running.execute import run_job
from tasks.state import lifecycle
from tests.support.jobs import new_job

pytestmark = pytest.mark.django_db

LIST = "/admin/tasks/jobgroup/"


def page_of(group: JobGroup) -> str:
    return f"{LIST}{group.pk}/change/"


def figures_of(group: JobGroup) -> str:
    return f"{LIST}{group.pk}/figures/"


def words(answer: Any) -> str:
    """The text of a page, without tags."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", answer.content.decode())).split())


def act(client: Client, model: str, name: str, rows: Iterable[Any]) -> Any:
    address = reverse(f"admin:{model}_changelist")
    return client.post(address, {"action": name, "_selected_action": [row.pk for row in rows]})


@pytest.fixture
def staff(client: Client, django_user_model: type[User]) -> Callable[..., User]:
    """staff("view_job"): a member of the staff with these permissions, logged in at `client`."""

    def staff(*codenames: str, name: str = "staff") -> User:
        member = django_user_model.objects.create_user(name, is_staff=True)
        member.user_permissions.add(*Permission.objects.filter(codename__in=codenames))
        client.force_login(member)
        return member

    return staff


# How it comes about


def test_fetch_now_leads_to_the_progress_of_what_it_queued_and_joined(admin_client, admin_user, user):
    joined = new_job("AAPL", user=user)
    stocks = [Stock.objects.get(symbol="AAPL"), Stock.objects.create(symbol="MSFT")]
    answer = act(admin_client, "market_stock", "fetch_now", stocks)
    group = JobGroup.objects.get()
    assert answer.url == page_of(group)
    assert (group.what, group.user) == ("Fetch of AAPL, MSFT", admin_user)
    assert set(group.jobs.all()) == {joined, Job.objects.get(symbol="MSFT")}
    shown = words(admin_client.get(answer.url))
    assert "Queued MSFT; already requested: AAPL." in shown
    assert "0 of 2 ended" in shown


def test_analyse_now_asks_for_all_that_can_be_found_out(admin_client, admin_user):
    stocks = Stock.objects.find_or_create(["AAPL", "MSFT"])
    answer = act(admin_client, "market_stock", "analyse_now", stocks)
    group = JobGroup.objects.get()
    assert answer.url == page_of(group)
    assert (group.what, group.user) == ("Analysis of AAPL, MSFT", admin_user)
    shown = words(admin_client.get(answer.url))
    assert "Queued AAPL, MSFT." in shown
    assert all(f"{symbol} {kind}" in shown for symbol in ("AAPL", "MSFT") for kind in Analysis.Kind)
    assert sorted(group.jobs.values_list("symbol", "subtype", "trigger")) == sorted(
        (symbol, kind, "user_request") for symbol in ("AAPL", "MSFT") for kind in Analysis.Kind
    )
    act(admin_client, "market_stock", "analyse_now", stocks)
    assert Job.objects.count() == 8


def test_analyse_now_is_for_a_limited_number_of_stocks(admin_client, monkeypatch):
    monkeypatch.setattr("console.kit.selection.MOST_SELECTED", 1)
    answer = act(admin_client, "market_stock", "analyse_now", Stock.objects.find_or_create(["AAPL", "MSFT"]))
    assert "More than 1 stocks are selected; select fewer." in words(admin_client.get(answer.url))
    assert not Job.objects.exists()


def test_fetch_now_of_portfolios_does_too(admin_client, user, hold, django_user_model):
    hold(user, "AAPL", "MSFT")
    answer = act(admin_client, "portfolio_portfolio", "fetch_now", Portfolio.objects.all())
    group = JobGroup.objects.get()
    assert answer.url == page_of(group)
    assert group.what == f"Fetch of Main of {user}"
    hold(django_user_model.objects.create_user("other"), "GOOG")
    act(admin_client, "portfolio_portfolio", "fetch_now", Portfolio.objects.all())
    assert JobGroup.objects.latest("pk").what == "Fetch of 2 portfolios"


def test_a_portfolio_that_holds_nothing_leads_nowhere(admin_client, user):
    empty = Portfolio.objects.create(user=user, name="Empty")
    answer = act(admin_client, "portfolio_portfolio", "fetch_now", [empty])
    assert f"Fetch of Empty of {user}: nothing to fetch." in words(admin_client.get(answer.url))
    assert not JobGroup.objects.exists()
    assert not LogEntry.objects.exists()


def test_who_may_not_see_holdings_is_not_told_what_a_portfolio_holds(client, staff, user, hold):
    hold(user, "AAPL")
    member = staff("add_job", "view_portfolio")
    act(client, "portfolio_portfolio", "fetch_now", Portfolio.objects.all())
    assert not Job.objects.exists()
    member.user_permissions.add(Permission.objects.get(codename="view_holding"))
    act(client, "portfolio_portfolio", "fetch_now", Portfolio.objects.all())
    assert Job.objects.get().user == member


def test_it_is_in_the_admins_log_and_in_the_history_of_what_it_is_about(admin_client, admin_user):
    stocks = [Stock.objects.create(symbol=symbol) for symbol in ("A", "B", "C", "D")]
    act(admin_client, "market_stock", "fetch_now", stocks)
    group = JobGroup.objects.get()
    assert group.what == "Fetch of 4 stocks"
    entries = LogEntry.objects.order_by("pk").values_list("user", "object_id", "action_flag", "change_message")
    about = [(admin_user.pk, str(stock.pk), CHANGE, "Fetch of 4 stocks.") for stock in stocks]
    assert list(entries) == [(admin_user.pk, str(group.pk), ADDITION, "Fetch of 4 stocks."), *about]
    assert page_of(group) in admin_client.get("/admin/").content.decode()


def test_words_that_have_several_lines_become_one(user):
    assert group_jobs("Fetch of a\r\nBcc: b", EnqueueResult(), user).what == "Fetch of a Bcc: b"


# What the page shows


@pytest.fixture
def group(admin_user: User) -> Callable[..., JobGroup]:
    """group(*jobs): what the admin asked for, with these jobs."""

    def group(*jobs: Job) -> JobGroup:
        return group_jobs(f"Fetch of {len(jobs)} stocks", EnqueueResult(list(jobs)), admin_user)

    return group


def row_of(progress: Progress, symbol: str) -> Any:
    return next(row for row in progress.rows if row.job.symbol == symbol)


def test_each_job_is_shown_with_its_state_what_came_of_it_and_its_times(group):
    moment = timezone.now()
    times: dict[str, Any] = {"queued_at": moment, "started_at": moment + timedelta(seconds=3)}
    end: dict[str, Any] = {**times, "finished_at": moment + timedelta(seconds=3.5)}
    progress = progress_of(
        group(
            new_job(
                "DONE",
                "completed",
                outcome="updated",
                result={"records_stored": 3, "days_fetched": 22, "source": "yahoo_finance"},
                **end,
            ),
            new_job("SAME", "completed", outcome="unchanged", result={"reason": "market closed since Friday"}, **end),
            new_job("BAD", "failed", error="Yahoo Finance has no data for BAD", **end),
            new_job("RUNS", "running", attempt=2, **times),
            new_job("SENT", "queued", queued_at=moment),
            new_job("TURN"),
            new_job("LATER", error="Yahoo Finance answered 503", run_at=moment + timedelta(hours=1)),
        )
    )
    details = {row.job.symbol: row.details for row in progress.rows}
    assert details.pop("LATER").startswith(
        f"next attempt at {moment + timedelta(hours=1):%Y-%m-%d %H:%M:%S} UTC: Yahoo Fin"
    )
    assert details == {
        "DONE": "updated: 3 of 22 bars stored, from yahoo_finance",
        "SAME": "unchanged: market closed since Friday",
        "BAD": "Yahoo Finance has no data for BAD",
        "RUNS": "attempt 2",
        "SENT": "waits for a worker",
        "TURN": "waits for its turn",
    }
    done = row_of(progress, "DONE")
    assert (done.waited, done.ran) == ("3.00 s", "0.50 s")
    assert (row_of(progress, "TURN").waited, row_of(progress, "TURN").ran) == ("", "")


def test_a_job_is_followed_from_its_turn_to_what_it_stored(admin_client, group, yahoo):
    yahoo.serve("AAPL", days=20)
    job = new_job("AAPL")
    mine = group(job)
    assert "0 of 1 ended 1 pending" in words(admin_client.get(page_of(mine)))
    lifecycle.mark_queued([job.pk])
    assert "1 queued" in words(admin_client.get(figures_of(mine)))
    run_job(job.pk, "worker")
    shown = words(admin_client.get(figures_of(mine)))
    assert "1 of 1 ended 1 completed" in shown
    assert "AAPL completed updated: 20 of 20 bars stored, from yahoo_finance" in shown


def test_the_page_is_refreshed_until_all_jobs_have_ended(admin_client, group):
    first, second = new_job("A", "failed"), new_job("B", "running")
    mine = group(first, second)
    assert f'data-address="{figures_of(mine)}"' in admin_client.get(page_of(mine)).content.decode()
    shown = admin_client.get(figures_of(mine)).content.decode()
    assert 'data-summary="1 of 2 ended, 1 without success"' in shown
    assert "data-over" not in shown
    Job.objects.filter(pk=second.pk).update(status="cancelled", finished_at=timezone.now())
    shown = admin_client.get(figures_of(mine)).content.decode()
    assert 'data-summary="2 of 2 ended, 2 without success"' in shown
    assert 'data-over="All jobs have ended; the page is no longer refreshed."' in shown


def many(count: int, status: str, name: str, **fields: Any) -> list[Job]:
    stocks = Stock.objects.bulk_create(Stock(symbol=f"{name}{number}") for number in range(count))
    jobs = request_fetches(stocks, Job.Trigger.USER_REQUEST).created
    if status not in Job.ACTIVE:
        fields.setdefault("finished_at", timezone.now())
    Job.objects.filter(pk__in=[job.pk for job in jobs]).update(status=status, **fields)
    return jobs


def test_of_thousands_of_jobs_failures_and_running_ones_are_shown_and_the_rest_is_counted(admin_client, group):
    jobs = many(2_900, "completed", "OK") + many(50, "pending", "WAIT")
    jobs += many(3, "cancelled", "STOP") + many(10, "failed", "BAD", error="no") + many(20, "running", "RUN")
    new_job("OTHERS", "failed")
    mine = group(*jobs)
    progress = progress_of(mine)
    assert [row.job.status for row in progress.rows] == [
        *["failed"] * 10,
        *["cancelled"] * 3,
        *["running"] * 20,
        *["pending"] * (SHOWN - 33),
    ]
    assert progress.counts == {"failed": 10, "cancelled": 3, "running": 20, "pending": 50, "completed": 2_900}
    assert (progress.ended, progress.total, progress.not_done, progress.more) == (2_913, 2_983, 13, 2_983 - SHOWN)
    shown = admin_client.get(figures_of(mine))
    assert len(shown.content) < 30_000
    assert "2913 of 2983 ended 10 failed 3 cancelled 20 running 50 pending 2900 completed" in words(shown)
    assert "and 2933 more" in words(shown)
    counts = re.findall(r'<a href="([^"]+)">(\d+) (\w+)</a>', shown.content.decode())
    assert len(counts) == 5
    for address, count, status in counts:
        listed = admin_client.get(html.unescape(address)).context["cl"].queryset
        assert listed.count() == int(count)
        assert set(listed.values_list("status", flat=True)) == {status}


def test_the_newest_ends_are_shown_first(group):
    moment = timezone.now()
    jobs = [new_job(f"S{hours}", "completed", finished_at=moment - timedelta(hours=hours)) for hours in (2, 1, 3)]
    assert [row.job.symbol for row in progress_of(group(*jobs)).rows] == ["S1", "S2", "S3"]


@pytest.mark.parametrize("address_of", [page_of, figures_of])
def test_the_number_of_queries_does_not_grow(admin_client, group, address_of):
    def queries(mine: JobGroup) -> int:
        with CaptureQueriesContext(connection) as found:
            assert admin_client.get(address_of(mine)).status_code == 200
        return len(found)

    few = queries(group(new_job("ONE", "failed", error="no")))
    assert queries(group(*many(40, "failed", "F", error="no"), *many(40, "running", "R"))) == few < 15


def test_when_its_jobs_have_been_deleted_that_is_said(admin_client, group):
    mine = group()
    shown = admin_client.get(page_of(mine))
    assert "The jobs have ended and were deleted." in words(shown)
    assert "data-over" in shown.content.decode()


def test_scripts_and_styles_come_from_this_site(admin_client, group):
    shown = admin_client.get(page_of(group(new_job()))).content.decode()
    sources = re.findall(r'<(?:script|link)[^>]*\b(?:src|href)="([^"]*)"', shown)
    assert all(source.startswith("/static/") for source in sources)
    assert {"/static/tasks/live.js", "/static/tasks/progress.css"} <= set(sources)


# Who may see it


def test_others_see_it_only_with_the_permission_to_view_jobs(client, staff, user):
    mine = group_jobs("Fetch of AAPL", EnqueueResult([new_job("AAPL")]), user)
    member = staff("add_job")
    for address in (page_of(mine), figures_of(mine)):
        assert client.get(address).status_code == 404
    assert "AAPL" not in words(client.get(LIST))
    member.user_permissions.add(Permission.objects.get(codename="view_job"))
    for address in (page_of(mine), figures_of(mine), LIST):
        assert "AAPL" in words(client.get(address))


def test_who_asked_sees_it_without_that_permission_but_no_link_to_the_jobs(client, staff):
    member = staff("add_job")
    job = new_job("AAPL")
    mine = group_jobs("Fetch of AAPL", EnqueueResult([job]), member)
    shown = client.get(figures_of(mine)).content.decode()
    assert "AAPL" in shown
    assert "<a " not in shown
    assert "0 of 1" in words(client.get(LIST))
    member.user_permissions.add(Permission.objects.get(codename="view_job"))
    assert reverse("admin:tasks_job_change", args=[job.pk]) in client.get(figures_of(mine)).content.decode()


def test_staff_without_any_of_these_permissions_do_not_see_the_list(client, staff):
    staff("view_stock")
    assert client.get(LIST).status_code == 403


@pytest.mark.parametrize(
    "address", ["0/change/", "x/change/", "9" * 20 + "/change/", "0/figures/", "9" * 20 + "/figures/"]
)
def test_what_does_not_exist_is_not_found(admin_client, address):
    assert admin_client.get(f"{LIST}{address}").status_code == 404


def test_a_visitor_is_led_to_the_login_and_an_open_page_too_once_its_session_is_over(client, group):
    mine = group(new_job())
    assert client.get(page_of(mine)).url == f"/admin/login/?next={page_of(mine)}"
    answer = client.get(figures_of(mine))
    assert (answer.content, answer["HX-Refresh"]) == (b"", "true")


def test_it_is_only_read(admin_client, group):
    mine = group(new_job())
    for address in (page_of(mine), figures_of(mine)):
        assert admin_client.post(address).status_code == 405
    assert admin_client.get(f"{LIST}add/").status_code == 403
    assert admin_client.get(f"{LIST}{mine.pk}/delete/").status_code == 403


# The list


def test_the_list_shows_how_far_each_one_is(admin_client, group):
    ended = new_job("A", "completed")
    group(ended, new_job("B"))
    group(ended)
    shown = words(admin_client.get(LIST))
    assert "1 of 2" in shown
    assert "1 of 1" in shown
    found = admin_client.get(LIST, {"q": "B"}).context["cl"].queryset
    assert [one.what for one in found] == ["Fetch of 2 stocks"]


def test_the_lists_number_of_queries_does_not_grow(admin_client, group):
    def queries() -> int:
        with CaptureQueriesContext(connection) as found:
            assert admin_client.get(LIST).status_code == 200
        return len(found)

    group(new_job("A"))
    few = queries()
    for number in range(20):
        group(new_job(f"B{number}"), new_job(f"C{number}", "failed"))
    assert queries() == few
