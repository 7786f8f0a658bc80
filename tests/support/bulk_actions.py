"""These functions begin actions on all jobs that match, carry them out, and look at what became of the jobs."""

from collections import Counter

from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from tasks.bulk import runner
from tasks.models import BulkAction, Job

LIST = "/admin/tasks/job/"
PERMISSIONS = ("view_job", "cancel_job", "retry_job", "reprioritise_job")
Kind = BulkAction.Kind


def may(user: User, *codenames: str) -> User:
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return User.objects.get(pk=user.pk)


def confirm(client: Client, name: str, filters: str = "", **more: str):
    """What the form of the page sends that asks first."""
    chosen = {"action": name, "select_across": "1", "confirmed": "yes", "_selected_action": ["all"]}
    return client.post(f"{LIST}?{filters}", {**chosen, **more}, follow=True)


def work_off(action: BulkAction) -> BulkAction:
    while action.finished_at is None:
        before = action.looked_at
        runner.work(action.pk)
        action.refresh_from_db()
        assert action.finished_at or action.looked_at > before
    return action


def begin(kind: Kind, user: User, filters: str = "", priority: int | None = None) -> BulkAction:
    return runner.begin(kind, filters, user, Job.objects.count(), priority)[0]


def statuses() -> Counter[str]:
    return Counter(Job.objects.values_list("status", flat=True))


def page_of(action: BulkAction) -> str:
    return reverse("admin:tasks_bulkaction_change", args=[action.pk])


def part_of(action: BulkAction) -> str:
    return reverse("admin:tasks_bulkaction_part", args=[action.pk])
