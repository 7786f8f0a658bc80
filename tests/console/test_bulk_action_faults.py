"""Bulk actions are begun without permission, without a broker, with wrong filters, and after errors."""

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from tasks.bulk import runner
from tasks.delivery import direct
from tasks.models import BulkAction, Job
from tasks.upkeep.sweeper import sweep
from tests.support.bulk_actions import PERMISSIONS, Kind, begin, confirm, may, page_of, part_of, statuses, work_off
from tests.support.jobs import many_jobs

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("small_batches")]


@pytest.mark.parametrize(
    ("codename", "name"),
    [("cancel_job", "cancel_jobs"), ("retry_job", "run_jobs_again"), ("reprioritise_job", "reprioritise_jobs")],
)
def test_each_action_on_all_needs_the_permission_for_one(client, operator, codename, name):
    many_jobs(2, "failed")
    may(operator, *set(PERMISSIONS) - {codename})
    client.force_login(operator)
    confirm(client, name, priority="8")
    assert not BulkAction.objects.exists()
    may(operator, "view_job", codename)
    confirm(client, name, priority="8")
    action = BulkAction.objects.get()
    assert client.get(page_of(action)).status_code == 200
    stop = reverse("admin:tasks_bulkaction_stop", args=[action.pk])
    may(operator, *set(PERMISSIONS) - {codename})
    assert client.get(page_of(action)).status_code == 302  # the admin's answer where there is no such row
    assert client.get(part_of(action)).headers["HX-Refresh"] == "true"
    assert client.post(stop).status_code == 404
    may(operator, "view_bulkaction")
    assert client.get(page_of(action)).status_code == 200
    assert f'action="{stop}"' not in client.get(page_of(action)).content.decode()
    assert client.post(stop).status_code == 403
    action.refresh_from_db()
    assert action.state == "running"


@pytest.mark.parametrize("loss", ["permission", "staff", "active", "user"])
def test_who_may_not_do_it_any_more_has_it_stopped(operator, loss):
    many_jobs(5)
    action = begin(Kind.CANCEL, operator)
    match loss:
        case "permission":
            may(operator, "view_job")
        case "user":
            operator.delete()
        case _:
            User.objects.update(**{f"is_{loss}": False})
    runner.work(action.pk)
    action.refresh_from_db()
    assert (action.state, action.error) == ("stopped", "its user no longer has the permission")
    assert statuses() == {"pending": 5}


def test_without_a_csrf_token_nothing_begins_or_stops(operator):
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(operator)
    many_jobs(1)
    assert confirm(strict, "cancel_jobs").status_code == 403
    action = begin(Kind.CANCEL, operator)
    assert strict.post(reverse("admin:tasks_bulkaction_stop", args=[action.pk])).status_code == 403
    action.refresh_from_db()
    assert action.state == "running"


@pytest.mark.parametrize("filters", ["no_such_field=1", "user__password__startswith=x", "created_at__gte=yesterday"])
def test_filters_that_the_list_does_not_know_any_more_end_it_and_say_so(operator, filters):
    many_jobs(2)
    action = begin(Kind.CANCEL, operator, filters)
    runner.work(action.pk)
    action.refresh_from_db()
    assert action.state == "failed"
    assert filters in action.error
    assert statuses() == {"pending": 2}
    assert "Cancel, failed, " in LogEntry.objects.get().change_message


@pytest.mark.parametrize("filters", ["no_such_field=1", "created_at__gte=yesterday"])
def test_nothing_begins_from_an_address_that_the_list_does_not_know(admin_client, filters):
    many_jobs(2)
    confirm(admin_client, "cancel_jobs", filters)
    assert not BulkAction.objects.exists()


def test_an_error_that_nobody_thought_of_ends_it_and_keeps_what_was_done(operator, monkeypatch):
    many_jobs(6)
    action = begin(Kind.CANCEL, operator)
    monkeypatch.setattr(runner, "SLICE", -1)
    runner.work(action.pk)

    def break_down(action, jobs):
        raise ValueError("out of order")

    monkeypatch.setattr(runner, "change", break_down)
    runner.work(action.pk)
    action.refresh_from_db()
    assert (action.state, action.error, action.done) == ("failed", "out of order", 3)
    assert statuses() == {"cancelled": 3, "pending": 3}


def test_a_batch_takes_the_same_number_of_queries_for_2_and_40_jobs(operator, monkeypatch):
    monkeypatch.setattr(runner, "JOBS_PER_BATCH", 100)

    def queries_for(count: int, status: str, kind: Kind, priority: int | None = None) -> int:
        Job.objects.all().delete()
        many_jobs(count, status)
        action = begin(kind, operator, f"status__exact={status}", priority)
        with CaptureQueriesContext(connection) as queries:
            work_off(action)
        assert action.done == count
        return len(queries)

    for status, kind, priority in (
        ("pending", Kind.CANCEL, None),
        ("failed", Kind.RUN_AGAIN, None),
        ("pending", Kind.REPRIORITISE, 9),
    ):
        few, many = (queries_for(count, status, kind, priority) for count in (2, 40))
        assert few == many, kind


def test_the_sweeper_has_it_go_on_when_nothing_was_heard_of_it(operator, monkeypatch):
    many_jobs(2)
    action = begin(Kind.CANCEL, operator)
    sent: list[int] = []
    monkeypatch.setattr(runner, "hand_over", sent.append)
    sweep()
    assert sent == []
    BulkAction.objects.update(next_at=timezone.now())
    sweep()
    sweep()
    assert sent == [action.pk]


@pytest.mark.django_db(transaction=True)
def test_without_a_broker_it_is_done_here(configured, direct_processing, operator):
    configured(**{"queue.backend": "direct"})
    many_jobs(7, "failed")
    action = begin(Kind.CANCEL, operator)
    assert direct.wait_until_idle(60)
    action.refresh_from_db()
    assert (action.state, action.reasons) == ("completed", {"failed": 7})


@pytest.mark.django_db(transaction=True)
def test_while_the_broker_is_away_it_is_done_here_slice_after_slice(direct_processing, operator, monkeypatch):
    monkeypatch.setattr(runner, "SLICE", -1)
    many_jobs(8)
    action = begin(Kind.CANCEL, operator)
    assert direct.wait_until_idle(60)
    action.refresh_from_db()
    assert (action.state, action.done) == ("completed", 8)
