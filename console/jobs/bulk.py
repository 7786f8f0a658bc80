"""Bulk actions in the admin: a list, and a page for each action with its progress and a stop button."""

from collections import Counter
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.views.decorators.http import require_POST
from unfold.decorators import display

from console.jobs.filters_in_address import describe_filters
from console.kit.live_page import LivePage
from console.kit.read_only import ReadOnly
from stockqueue.signed_in import signed_in
from stockqueue.wording import describe_duration
from tasks.bulk import runner
from tasks.models import BulkAction, Job

MOST_COUNTED = 100_000
"""Limit of the count of matching jobs; a larger number has no use."""
REASONS_SHOWN = 5


def count(jobs: QuerySet[Job]) -> int:
    """Count the jobs, up to MOST_COUNTED + 1."""
    return jobs.order_by()[: MOST_COUNTED + 1].count()


def count_in_words(matched: int) -> str:
    """`1 job`, `1,200 jobs`, or `over 100,000 jobs` beyond MOST_COUNTED."""
    if matched > MOST_COUNTED:
        return f"over {MOST_COUNTED:,} jobs"
    return f"{matched:,} job{'' if matched == 1 else 's'}"


@admin.register(BulkAction)
class BulkActionAdmin(ReadOnly, LivePage):
    """A user with the permission for one job sees and stops such bulk actions; `view_bulkaction` shows all."""

    part_template = "admin/tasks/bulkaction/part.html"
    list_display = ("__str__", "which", "user", "created_at", "shown_state", "progress", "finished_at")
    list_filter = ("state", "kind")
    list_select_related = ("user",)
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[BulkAction]:
        actions: QuerySet[BulkAction] = super().get_queryset(request)
        if request.user.has_perm("tasks.view_bulkaction"):
            return actions
        return actions.filter(kind__in=_kinds_of(request))

    def has_view_permission(self, request: HttpRequest, action: BulkAction | None = None) -> bool:
        if request.user.has_perm("tasks.view_bulkaction"):
            return True
        kinds = _kinds_of(request)
        return bool(kinds) if action is None else action.kind in kinds

    def get_urls(self) -> list[URLPattern]:
        stop = self.admin_site.admin_view(self.stop)
        return [path("<int:action_id>/stop/", stop, name="tasks_bulkaction_stop"), *super().get_urls()]

    @method_decorator(require_POST)
    def stop(self, request: HttpRequest, action_id: int) -> HttpResponse:
        user = signed_in(request)
        action: BulkAction | None = self.get_object(request, str(action_id))
        if action is None:
            raise Http404
        if not user.has_perm(action.permission):
            raise PermissionDenied
        if runner.stop(action, user):
            self.message_user(request, "Stopped. Changes so far are kept.", messages.SUCCESS)
        else:
            self.message_user(request, "The bulk action has already ended.", messages.WARNING)
        return redirect("admin:tasks_bulkaction_change", action_id)

    @admin.display(description="Filters")
    def which(self, action: BulkAction) -> str:
        return "; ".join(describe_filters(action.filters)) or "all jobs"

    @display(
        description="State",
        ordering="state",
        label={
            BulkAction.State.RUNNING: "info",
            BulkAction.State.COMPLETED: "success",
            BulkAction.State.STOPPED: "warning",
            BulkAction.State.FAILED: "danger",
        },
    )
    def shown_state(self, action: BulkAction) -> str:
        return action.state

    @admin.display(description="Jobs processed")
    def progress(self, action: BulkAction) -> str:
        return f"{action.looked_at:,} of {count_in_words(action.matched)}"

    def is_over(self, action: BulkAction) -> bool:
        return action.finished_at is not None

    def describe(self, request: HttpRequest, action: BulkAction) -> dict[str, Any]:
        ended = action.finished_at or timezone.now()
        return {
            "bulk_action": action,
            "progress": self.progress(action),
            "most": action.matched if action.matched <= MOST_COUNTED else None,
            "took": describe_duration(ended - action.created_at),
            "reasons": Counter(action.reasons).most_common(REASONS_SHOWN),
            "filters": describe_filters(action.filters),
            "jobs": f"{reverse('admin:tasks_job_changelist')}?{action.filters}",
            "is_waiting": action.finished_at is None and runner.is_waiting(action),
            "most_waiting": runner.MOST_WAITING,
            "may_stop": action.finished_at is None and request.user.has_perm(action.permission),
        }


def log_end(action: BulkAction, user: User, what: str) -> None:
    """Write the end of the action to the admin's log: one entry for all its jobs together."""
    LogEntry.objects.log_actions(user.pk, [action], CHANGE, what)


def link_to(action: BulkAction, words: str) -> str:
    """A link to the action's page."""
    return format_html(
        '<a href="{}" class="underline">{}</a>', reverse("admin:tasks_bulkaction_change", args=[action.pk]), words
    )


def _kinds_of(request: HttpRequest) -> list[str]:
    """The kinds of actions that the user has the permission for."""
    return [kind for kind, permission in BulkAction.PERMISSIONS.items() if request.user.has_perm(permission)]
