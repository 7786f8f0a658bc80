"""An action on all jobs that match asks first, works in the background, and can be stopped."""

import threading
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from tasks.bulk import changes, runner, selection
from tasks.models import BulkAction, Job, JobEvent, JobRequest
from tasks.upkeep import retention
from tests.support.bulk_actions import LIST, Kind, begin, confirm, may, page_of, part_of, statuses, work_off
from tests.support.jobs import many_jobs, new_job

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("small_batches")]


def ask(client: Client, name: str, filters: str = "", **more: str):
    """What the list's form sends when all that match are chosen."""
    chosen = {"action": name, "select_across": "1", "index": "0", "_selected_action": ["x"]}
    return client.post(f"{LIST}?{filters}", {**chosen, **more}, follow=True)


def test_a_page_asks_first_and_says_how_many_match_and_by_what(admin_client):
    many_jobs(2, "failed")
    many_jobs(4)
    shown = ask(admin_client, "cancel_jobs", "status__exact=pending").content.decode()
    assert "4 jobs</strong> that match" in shown
    assert "<li>status is pending</li>" in shown
    shown = ask(admin_client, "cancel_jobs", "status__exact=pending&q=S1").content.decode()
    assert "1 job</strong> that match" in shown
    assert "<li>search: S1</li>" in shown
    assert not BulkAction.objects.exists()
    assert statuses() == {"pending": 4, "failed": 2}


def test_more_jobs_than_are_counted_are_told_as_many(admin_client, monkeypatch):
    monkeypatch.setattr("console.jobs.bulk.MOST_COUNTED", 3)
    many_jobs(4)
    assert "over 3 jobs</strong> that match" in ask(admin_client, "cancel_jobs").content.decode()
    assert "Cancel: queued for over 3 jobs." in confirm(admin_client, "cancel_jobs").content.decode()


def test_what_is_confirmed_is_queued_and_leads_to_its_progress(admin_client, admin_user):
    many_jobs(4)
    shown = confirm(admin_client, "cancel_jobs", "status__exact=pending").content.decode()
    action = BulkAction.objects.get()
    assert "Cancel: queued for 4 jobs." in shown
    assert f'<a href="{page_of(action)}" class="underline">Follow its progress</a>' in shown
    assert (action.user, action.kind, action.filters, action.matched) == (
        admin_user,
        "cancel",
        "status__exact=pending",
        4,
    )
    assert statuses() == {"pending": 4}
    progress = admin_client.get(page_of(action)).content.decode()
    assert "Processed 0 of 4 jobs" in progress
    assert f'data-address="{part_of(action)}"' in progress
    work_off(action)
    assert statuses() == {"cancelled": 4}


def test_all_that_match_are_done_and_nothing_else(operator):
    others = many_jobs(2, "completed")
    many_jobs(8)
    action = begin(Kind.CANCEL, operator, "status__exact=pending")
    later = new_job("LATER")
    work_off(action)
    assert (action.state, action.done, action.skipped, action.reasons) == ("completed", 8, 0, {})
    assert statuses() == {"cancelled": 8, "completed": 2, "pending": 1}
    assert Job.objects.get(pk=later.pk).status == "pending"
    assert set(Job.objects.filter(pk__in=[job.pk for job in others]).values_list("status")) == {("completed",)}
    assert set(Job.objects.filter(status="cancelled").values_list("error", flat=True)) == {"cancelled by operator"}


def test_jobs_of_one_moment_are_each_done_once(operator):
    many_jobs(10, created_at=timezone.now() - timedelta(minutes=1))
    action = work_off(begin(Kind.CANCEL, operator))
    assert action.done == 10
    assert JobEvent.objects.filter(event="cancelled").count() == 10


@pytest.mark.parametrize("count", [3, 9])
def test_a_number_of_jobs_that_fills_its_batches_ends_too(operator, count):
    many_jobs(count)
    assert work_off(begin(Kind.CANCEL, operator)).done == count


def test_what_cannot_be_changed_is_skipped_and_counted_with_its_reason(operator, admin_client):
    many_jobs(4, "failed")
    many_jobs(2, "completed")
    many_jobs(3)
    action = work_off(begin(Kind.CANCEL, operator))
    assert (action.done, action.skipped, action.reasons) == (3, 6, {"failed": 4, "completed": 2})
    shown = admin_client.get(page_of(action)).content.decode()
    assert '<th scope="row">failed</th><td class="pp-number">4</td>' in shown
    assert shown.index(">failed<") < shown.index(">completed</th>")


def test_a_job_that_ends_just_before_its_turn_is_skipped(operator, monkeypatch):
    many_jobs(3)
    change = changes.change

    def end_one_first(action, jobs):
        if jobs:
            Job.objects.filter(pk=jobs[0].pk).update(status="completed", finished_at=timezone.now())
        return change(action, jobs)

    monkeypatch.setattr(runner, "change", end_one_first)
    action = work_off(begin(Kind.CANCEL, operator, "status__exact=pending"))
    assert (action.done, action.skipped, action.reasons) == (2, 1, {"completed": 1})
    assert statuses() == {"cancelled": 2, "completed": 1}


def test_jobs_that_were_deleted_meanwhile_are_told_as_such(operator, monkeypatch):
    many_jobs(2)
    change = changes.change

    def delete_one_first(action, jobs):
        Job.objects.filter(pk__in=[job.pk for job in jobs[:1]]).delete()
        return change(action, jobs)

    monkeypatch.setattr(runner, "change", delete_one_first)
    action = work_off(begin(Kind.CANCEL, operator))
    assert (action.done, action.reasons) == (1, {"deleted meanwhile": 1})


def test_the_admins_log_has_one_entry_with_the_counts(operator, admin_client):
    many_jobs(1, "failed")
    many_jobs(7)
    action = work_off(begin(Kind.CANCEL, operator, "status__in=pending,failed"))
    entry = LogEntry.objects.get()
    assert (entry.user, entry.object_id) == (operator, str(action.pk))
    assert entry.change_message == (
        "Cancel, completed: 7 jobs done, 1 skipped (1 failed); filters: status is one of pending,failed."
    )
    history = admin_client.get(reverse("admin:tasks_bulkaction_history", args=[action.pk])).content.decode()
    assert "7 jobs done, 1 skipped" in history


def test_what_runs_again_does_so_once_for_each_thing_and_keeps_out_of_the_way(operator):
    for age in (3, 2, 1):
        many_jobs(4, "failed", created_at=timezone.now() - timedelta(hours=age))
    fetch = new_job("AAPL", "failed")
    new_job("MSFT", "running")
    action = work_off(begin(Kind.RUN_AGAIN, operator))
    reasons = {"covered by another rerun": 8, "running": 1}
    assert (action.done, action.skipped, action.reasons) == (5, 9, reasons)
    again = Job.objects.filter(retry_of__isnull=False)
    assert {(job.queue, job.trigger, job.user) for job in again} == {
        ("background_analysis", "maintenance", operator),
        ("background_fetch", "maintenance", operator),
    }
    assert again.get(symbol="AAPL").retry_of == fetch
    newest = Job.objects.filter(status="failed", job_type="stock_analysis").order_by("-created_at")[:4]
    assert {job.retry_of_id for job in again} == {fetch.pk, *(job.pk for job in newest)}
    assert {event.payload["retry_of"] for event in JobEvent.objects.filter(event="created", job__in=again)} == {
        str(job.retry_of_id) for job in again
    }


def test_what_is_on_its_way_is_joined_once(operator, user):
    many_jobs(2, "failed", created_at=timezone.now() - timedelta(hours=2))
    many_jobs(2, "failed", created_at=timezone.now() - timedelta(hours=1))
    under_way = many_jobs(2, user=user)
    action = work_off(begin(Kind.RUN_AGAIN, operator, "status__exact=failed"))
    assert (action.done, action.skipped) == (2, 2)
    assert Job.objects.active().count() == 2
    for job in under_way:
        assert job.requesters() == [user.username, "operator"]
        assert JobRequest.objects.filter(job=job).count() == 2


def test_no_job_runs_again_while_too_many_wait(operator, monkeypatch, admin_client):
    monkeypatch.setattr(runner, "MOST_WAITING", 4)
    many_jobs(9, "failed")
    action = begin(Kind.RUN_AGAIN, operator)
    runner.work(action.pk)
    action.refresh_from_db()
    assert (action.state, action.done) == ("running", 6)
    assert Job.objects.filter(status="pending").count() == 6
    assert "Paused while more than" in admin_client.get(part_of(action)).content.decode()
    runner.work(action.pk)
    action.refresh_from_db()
    assert action.done == 6
    Job.objects.active().update(status="completed", finished_at=timezone.now())
    assert work_off(action).done == 9


def test_a_new_priority_skips_what_cannot_have_it(operator, admin_client):
    many_jobs(2)
    Job.objects.filter(symbol="S0").update(priority=10)
    new_job("AAPL")
    new_job("MSFT", "running")
    asked = ask(admin_client, "reprioritise_jobs").content.decode()
    assert "10 (background_analysis)" in asked
    refused = confirm(admin_client, "reprioritise_jobs", priority="11").content.decode()
    assert "Select a valid choice." in refused
    assert "4 jobs</strong> that match" in refused
    said = confirm(admin_client, "reprioritise_jobs", priority="10").content.decode()
    assert "Change the priority to 10: queued for 4 jobs." in said
    action = work_off(BulkAction.objects.get())
    assert (action.done, action.skipped) == (1, 3)
    assert action.reasons == {"of that priority already": 1, "stock_fetch: cannot have that priority": 1, "running": 1}


def test_the_same_a_second_time_is_not_done_twice_at_once(admin_client, operator):
    many_jobs(5)
    confirm(admin_client, "cancel_jobs", "status__exact=pending&q=S1")
    shown = confirm(admin_client, "cancel_jobs", "q=S1&status__exact=pending").content.decode()
    action = BulkAction.objects.get()
    assert "Cancel: already running, requested by admin." in shown
    assert page_of(action) in shown
    confirm(admin_client, "cancel_jobs", "status__exact=pending")
    assert BulkAction.objects.count() == 2
    work_off(action)
    confirm(admin_client, "cancel_jobs", "q=S1&status__exact=queued")
    assert BulkAction.objects.count() == 2, "nothing matched"
    many_jobs(2)
    confirm(admin_client, "cancel_jobs", "q=S1&status__exact=pending")
    assert BulkAction.objects.count() == 3


@pytest.mark.django_db(transaction=True)
def test_of_two_that_begin_at_the_same_moment_one_counts(operator):
    many_jobs(1)
    together = threading.Barrier(2)
    found: list[tuple[int, bool]] = []

    def press():
        together.wait()
        action, is_new = runner.begin(Kind.CANCEL, "", operator, 1)
        found.append((action.pk, is_new))
        connection.close()

    threads = [threading.Thread(target=press) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    action = BulkAction.objects.get()
    assert sorted(found) == [(action.pk, False), (action.pk, True)]


@pytest.mark.django_db(transaction=True)
def test_two_that_work_at_it_at_once_do_nothing_twice(operator, monkeypatch):
    many_jobs(60)
    action = begin(Kind.CANCEL, operator)
    together = threading.Barrier(2)

    def take_part():
        together.wait()
        runner.work(action.pk)
        connection.close()

    threads = [threading.Thread(target=take_part) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    work_off(action)
    assert (action.done, action.skipped) == (60, 0)
    assert JobEvent.objects.filter(event="cancelled").count() == 60
    assert LogEntry.objects.count() == 1


def test_it_can_be_stopped_and_what_is_done_stays(operator, client, monkeypatch):
    many_jobs(9)
    action = begin(Kind.CANCEL, operator)
    monkeypatch.setattr(runner, "SLICE", -1)  # one batch
    runner.work(action.pk)
    client.force_login(operator)
    stop = reverse("admin:tasks_bulkaction_stop", args=[action.pk])
    assert f'action="{stop}"' in client.get(page_of(action)).content.decode()
    assert client.get(stop).status_code == 405
    assert "Stopped. Changes so far are kept." in client.post(stop, follow=True).content.decode()
    runner.work(action.pk)
    action.refresh_from_db()
    assert (action.state, action.done, action.error) == ("stopped", 3, "stopped by operator")
    assert statuses() == {"cancelled": 3, "pending": 6}
    assert "The bulk action has already ended." in client.post(stop, follow=True).content.decode()
    assert "Cancel, stopped, stopped by operator: 3 jobs done" in LogEntry.objects.get().change_message


def test_the_list_says_what_it_is_who_did_it_and_how_far_it_is(operator, client):
    many_jobs(2)
    work_off(begin(Kind.CANCEL, operator, "status__exact=pending"))
    begin(Kind.REPRIORITISE, operator, priority=9)
    client.force_login(operator)
    shown = client.get("/admin/tasks/bulkaction/").content.decode()
    for text in ("Change the priority to 9", "status is pending", "all jobs", "2 of 2", "0 of 2", "operator"):
        assert text in shown
    may(operator, "view_job", "cancel_job")
    assert "Change the priority to 9" not in client.get("/admin/tasks/bulkaction/").content.decode()
    may(operator, "view_job")
    assert client.get("/admin/tasks/bulkaction/").status_code == 403


def test_its_page_is_not_refreshed_any_more_when_it_has_ended(operator, client):
    many_jobs(2)
    action = begin(Kind.CANCEL, operator)
    client.force_login(operator)
    assert "HX-Refresh" not in client.get(part_of(action)).headers
    work_off(action)
    assert client.get(part_of(action)).headers["HX-Refresh"] == "true"
    shown = client.get(page_of(action)).content.decode()
    assert "data-live" not in shown
    assert ">Stop<" not in shown
    client.logout()
    assert client.get(part_of(action)).headers["HX-Refresh"] == "true"


def test_what_a_filter_or_an_error_says_is_never_html(operator, client):
    action = begin(Kind.CANCEL, operator, "q=<script>alert(1)</script>")
    BulkAction.objects.update(error="<script>alert(2)</script>")
    client.force_login(operator)
    for address in (page_of(action), "/admin/tasks/bulkaction/"):
        assert "<script>alert" not in client.get(address).content.decode()
    many_jobs(1)
    shown = ask(client, "cancel_jobs", "error__exact=<script>alert(3)</script>").content.decode()
    assert "<script>alert" not in shown


def test_old_ones_are_cleaned_up(operator):
    many_jobs(1)
    old, fresh, running = (begin(Kind.REPRIORITISE, operator, priority=priority) for priority in (7, 8, 9))
    for action, days in ((old, 9), (fresh, 1)):
        BulkAction.objects.filter(pk=action.pk).update(
            state="completed", finished_at=timezone.now() - timedelta(days=days)
        )
    before = timezone.now() - timedelta(days=7)
    assert retention.preview(before).bulk_actions == 1
    assert retention.clean_up(before).bulk_actions == 1
    assert set(BulkAction.objects.all()) == {fresh, running}


def test_an_action_needs_a_registered_list_of_jobs(monkeypatch):
    monkeypatch.setattr(selection, "_registered", None)
    with pytest.raises(RuntimeError, match="no list of jobs is registered"):
        selection.job_list()
