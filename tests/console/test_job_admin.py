"""Jobs in the admin: what the pages show, and who may do what to a job."""

import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from market.jobs.requests import request_batches
from market.models import Stock
from tasks.models import Job
from tasks.running.execute import run_job
from tasks.state import lifecycle
from tests.support.jobs import new_job

pytestmark = pytest.mark.django_db

LIST = "/admin/tasks/job/"


def page_of(job: Job) -> str:
    return reverse("admin:tasks_job_change", args=[job.pk])


def act(client: Client, name: str, *jobs: Job, **more: object):
    return client.post(LIST, {"action": name, "_selected_action": [job.pk for job in jobs], **more}, follow=True)


def logged() -> list[tuple[str | None, str]]:
    return list(LogEntry.objects.order_by("pk").values_list("object_id", "change_message"))


@pytest.fixture
def staff(client, django_user_model):
    """staff("cancel_job"): log a member of the staff in, who may see jobs and has this permission."""

    def staff(*codenames: str) -> User:
        member = django_user_model.objects.create_user("staff", is_staff=True)
        member.user_permissions.add(*Permission.objects.filter(codename__in=["view_job", *codenames]))
        client.force_login(member)
        return member

    return staff


def test_the_list_shows_who_asked_how_long_it_took_and_what_came_of_it(admin_client, user, django_user_model):
    moment = timezone.now()
    job = new_job(
        "AAPL",
        "failed",
        user,
        error="Yahoo Finance has no data for AAPL",
        queued_at=moment,
        started_at=moment + timedelta(seconds=75),
        finished_at=moment + timedelta(seconds=77.5),
    )
    for number in range(4):
        request = job.requests.create(
            trigger="user_login", user=django_user_model.objects.create_user(f"also{number}")
        )
        assert request.pk
    shown = admin_client.get(LIST).content.decode()
    for text in (
        f"{user.username}, also0, also1 and 2 more",
        "1\xa0min\xa015\xa0s",
        "2.50\xa0s",
        job.error,
        "user_request",
    ):
        assert text in shown


def test_the_list_takes_the_same_number_of_queries_for_1_and_50_jobs(admin_client, user, django_assert_num_queries):
    new_job("S0", user=user)
    with CaptureQueriesContext(connection) as queries:
        admin_client.get(LIST)
    for number in range(1, 50):
        new_job(f"S{number}", user=user)
    with django_assert_num_queries(len(queries)):
        admin_client.get(LIST)


def test_a_jobs_page_tells_why_its_priority_and_what_happened(admin_client, user):
    job = new_job("AAPL", user=user)
    claimed = lifecycle.claim(job.pk, "worker@here")
    assert claimed is not None
    lifecycle.retry(claimed, "Yahoo Finance answered 503 for AAPL", timezone.now())
    shown = admin_client.get(page_of(job)).content.decode()
    for text in (
        "user_request has priority 3; score ",
        "attempt 1 by worker@here",
        "Yahoo Finance answered 503 for AAPL; next attempt at ",
        "&quot;days&quot;: 30",
        user.username,
    ):
        assert text in shown


@pytest.mark.django_db(transaction=True)
def test_a_batchs_page_tells_its_progress_and_its_result(admin_client, yahoo, configured):
    configured(**{"stock_jobs.data_fetch.concurrency": 1})
    yahoo.serve("AAPL")
    stocks = [Stock.objects.create(symbol=symbol) for symbol in ("AAPL", "ZZTOP")]
    (job,) = request_batches(stocks, Job.Trigger.SCHEDULED_UPDATE).created
    run_job(job.pk, "worker")
    assert "a batch of 2" in admin_client.get(LIST).content.decode()
    shown = admin_client.get(page_of(job)).content.decode()
    for text in ("[12] of 2: AAPL, ", "[12] of 2: ZZTOP, Yahoo Finance has no data for ZZTOP", "1 of 2 stocks, "):
        assert re.search(text, shown)  # the answers may come in any order


def test_what_a_symbol_or_an_error_says_is_never_html(admin_client):
    job = new_job("AAPL", status="failed", error="<script>alert(1)</script>", parameters={"x": "<b>bold</b>"})
    for address in (LIST, page_of(job)):
        shown = admin_client.get(address).content.decode()
        assert "<script>alert(1)" not in shown
        assert "<b>bold</b>" not in shown


def test_cancel_cancels_what_has_not_ended_says_what_has_and_is_logged(admin_client, admin_user):
    waiting, ended = new_job("AAPL"), new_job("MSFT", status="completed")
    shown = act(admin_client, "cancel_jobs", waiting, ended).content.decode()
    assert "Cancelled: AAPL." in shown
    assert "Not changed: MSFT is completed; only an active job can be cancelled." in shown
    waiting.refresh_from_db()
    assert (waiting.status, waiting.error) == ("cancelled", "cancelled by admin")
    assert logged() == [(str(waiting.pk), "Cancelled.")]
    assert LogEntry.objects.get().user == admin_user


def test_run_again_asks_in_the_name_of_who_pressed_it(admin_client, admin_user):
    failed = new_job("AAPL", status="failed")
    shown = act(admin_client, "run_jobs_again", failed).content.decode()
    assert "Rerun: queued AAPL." in shown
    again = Job.objects.exclude(pk=failed.pk).get()
    assert (again.status, again.user, again.trigger) == ("pending", admin_user, "user_request")
    assert [request.user for request in again.requests.all()] == [admin_user]
    assert logged() == [(str(failed.pk), "Rerun.")]


def test_run_again_with_one_that_runs_does_nothing_and_says_why(admin_client):
    failed, running = new_job("AAPL", status="failed"), new_job("MSFT", status="running")
    shown = act(admin_client, "run_jobs_again", failed, running).content.decode()
    assert f"No job was rerun: job {running.pk} is running; only an ended job can be rerun." in shown
    assert Job.objects.count() == 2
    assert logged() == []


def test_a_new_priority_is_asked_for_on_a_page_of_its_own(admin_client, user):
    job = new_job("AAPL", user=user)
    asked = act(admin_client, "reprioritise_jobs", job).content.decode()
    assert "5 (background_fetch)" in asked
    assert f"requested by {user.username}" in asked
    shown = act(admin_client, "reprioritise_jobs", job, confirmed="yes", priority="5").content.decode()
    assert "Priority 5: AAPL." in shown
    job.refresh_from_db()
    assert (job.priority, job.queue) == (5, "background_fetch")
    assert "Set to 5 by admin." in admin_client.get(page_of(job)).content.decode()
    assert logged() == [(str(job.pk), "Priority changed to 5.")]


@pytest.mark.parametrize(
    ("priority", "error"),
    [
        ("8", "stock_fetch AAPL cannot have priority 8; its type allows 1 to 3 or 4 to 6."),
        ("11", "Select a valid choice. 11 is not one of the available choices."),
        ("", "This field is required."),
    ],
)
def test_a_priority_that_cannot_be_is_explained_where_it_is_asked_for(admin_client, priority, error):
    job = new_job("AAPL")
    for address, more in (
        (LIST, {"action": "reprioritise_jobs", "_selected_action": [job.pk], "confirmed": "yes"}),
        (f"{page_of(job).removesuffix('change/')}priority/", {"x": "y"}),
    ):
        shown = admin_client.post(address, {**more, "priority": priority}).content.decode()
        assert error in shown
    job.refresh_from_db()
    assert job.priority == 3
    assert logged() == []


BUTTONS = {"run_again": "run-again", "cancel": "cancel", "reprioritise": "priority"}


def button(job: Job, name: str) -> str:
    return reverse(f"admin:tasks_job_{name}", args=[job.pk])


@pytest.mark.parametrize(
    ("status", "offered"),
    [
        ("pending", {"cancel", "reprioritise"}),
        ("queued", {"cancel", "reprioritise"}),
        ("running", {"cancel"}),
        ("completed", {"run_again"}),
        ("failed", {"run_again"}),
        ("expired", {"run_again"}),
        ("cancelled", {"run_again"}),
    ],
)
def test_a_jobs_page_has_the_buttons_that_its_status_allows(admin_client, status, offered):
    job = new_job("AAPL", status=status)
    shown = admin_client.get(page_of(job)).content.decode()
    assert {name for name in BUTTONS if f'href="{button(job, name)}"' in shown} == offered


def test_a_button_asks_first_and_acts_on_a_post_alone(admin_client, admin_user):
    job = new_job("AAPL")
    assert "AAPL" in admin_client.get(button(job, "cancel")).content.decode()
    job.refresh_from_db()
    assert job.status == "pending"
    assert admin_client.post(button(job, "cancel")).url == page_of(job)
    job.refresh_from_db()
    assert job.status == "cancelled"
    admin_client.get(button(job, "run_again"))
    assert Job.objects.count() == 1
    answer = admin_client.post(button(job, "run_again"))
    again = Job.objects.exclude(pk=job.pk).get()
    assert answer.url == page_of(again)
    assert again.user == admin_user
    assert admin_client.post(button(again, "reprioritise"), {"priority": "1"}).url == page_of(again)
    again.refresh_from_db()
    assert again.priority == 1
    assert [message for _, message in logged()] == ["Cancelled.", "Rerun.", "Priority changed to 1."]


def test_a_button_that_is_pressed_too_late_says_why_nothing_happens(admin_client):
    ended, running = new_job("AAPL", status="completed"), new_job("MSFT", status="running")
    shown = admin_client.post(button(ended, "cancel"), follow=True).content.decode()
    assert "Not changed: AAPL is completed; only an active job can be cancelled." in shown
    shown = admin_client.post(button(running, "run_again"), follow=True).content.decode()
    assert f"No job was rerun: job {running.pk} is running" in shown
    shown = admin_client.post(button(running, "reprioritise"), {"priority": "1"}, follow=True).content.decode()
    assert "Not changed: MSFT is running; only a waiting job" in shown
    assert Job.objects.count() == 2


def test_a_job_that_does_not_exist_is_not_found(admin_client):
    for name in BUTTONS:
        for job_id in ("00000000-0000-4000-8000-000000000000", "x"):
            assert admin_client.get(reverse(f"admin:tasks_job_{name}", args=[job_id])).status_code == 404


@pytest.mark.parametrize(
    ("codename", "name", "action"),
    [
        ("cancel_job", "cancel", "cancel_jobs"),
        ("retry_job", "run_again", "run_jobs_again"),
        ("reprioritise_job", "reprioritise", "reprioritise_jobs"),
    ],
)
def test_each_action_needs_its_own_permission(client, staff, codename, name, action):
    others = {"cancel_job", "retry_job", "reprioritise_job"} - {codename}
    member = staff(*others)
    waiting = new_job("AAPL")
    ended = new_job("MSFT", status="failed")
    job = ended if name == "run_again" else waiting
    assert f'value="{action}"' not in client.get(LIST).content.decode()
    assert f'href="{button(job, name)}"' not in client.get(page_of(job)).content.decode()
    assert client.get(button(job, name)).status_code == 403
    assert client.post(button(job, name), {"priority": "1"}).status_code == 403
    act(client, action, job, confirmed="yes", priority="1")
    assert Job.objects.count() == 2
    assert logged() == []
    member.user_permissions.add(Permission.objects.get(codename=codename))
    assert f'value="{action}"' in client.get(LIST).content.decode()
    assert f'href="{button(job, name)}"' in client.get(page_of(job)).content.decode()
    act(client, action, job, confirmed="yes", priority="1")
    assert len(logged()) == 1


def test_without_a_csrf_token_nothing_happens(admin_user):
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(admin_user)
    job = new_job("AAPL")
    assert strict.post(button(job, "cancel")).status_code == 403
    assert act(strict, "cancel_jobs", job).status_code == 403
    job.refresh_from_db()
    assert job.status == "pending"


def test_more_jobs_than_one_action_takes_are_refused(admin_client, monkeypatch):
    monkeypatch.setattr("console.kit.selection.MOST_SELECTED", 1)
    shown = act(admin_client, "cancel_jobs", new_job("AAPL"), new_job("MSFT")).content.decode()
    assert "More than 1 jobs are selected; select fewer, or all matching jobs." in shown
    assert set(Job.objects.values_list("status", flat=True)) == {"pending"}


def test_a_jobs_history_shows_what_people_did_to_it(admin_client):
    job = new_job("AAPL")
    act(admin_client, "cancel_jobs", job)
    assert "Cancelled." in admin_client.get(reverse("admin:tasks_job_history", args=[job.pk])).content.decode()
