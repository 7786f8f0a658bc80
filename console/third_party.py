"""Tables of Django, django-celery-results, django-celery-beat and django-axes in the admin.

This module replaces the admin classes of the first three packages. It removes the tables that stockqueue does not use:
groups of tasks, and schedules at one moment or by the sun.
"""

from datetime import datetime
from typing import Any

from axes.models import AccessAttempt
from django import forms
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import F, Q, QuerySet, Sum, Window
from django.http import HttpRequest
from django.utils import timezone
from django_celery_beat.admin import CrontabScheduleAdmin as PlainCrontabScheduleAdmin
from django_celery_beat.admin import IntervalScheduleAdmin as PlainIntervalScheduleAdmin
from django_celery_beat.admin import PeriodicTaskAdmin as PlainPeriodicTaskAdmin
from django_celery_beat.admin import PeriodicTaskForm as PlainPeriodicTaskForm
from django_celery_beat.admin import PeriodicTaskInline as PlainPeriodicTaskInline
from django_celery_beat.admin import TaskSelectWidget as PlainTaskSelectWidget
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule
from django_celery_results.admin import TaskResultAdmin as PlainTaskResultAdmin
from django_celery_results.models import GroupResult, TaskResult
from unfold.admin import ModelAdmin, TabularInline
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from console.kit.keyset import KeysetList, Path
from console.kit.read_only import ReadOnly
from operations.security.lockout import forget
from tasks.models import Job

_UNUSED = (GroupResult, ClockedSchedule, SolarSchedule)
_REPLACED = (User, Group, TaskResult, PeriodicTask, IntervalSchedule, CrontabSchedule)

for _model in (*_REPLACED, *_UNUSED):
    admin.site.unregister(_model)


@admin.register(User)
class UserAdmin(DjangoUserAdmin, ModelAdmin):
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, ModelAdmin):
    pass


@admin.register(TaskResult)
class TaskResultAdmin(KeysetList, PlainTaskResultAdmin):
    """Celery's result of each task; the task id is the job's id."""

    moment = "date_created"
    nothing_yet = "Celery keeps the results of tasks for one day."
    date_hierarchy = None
    list_filter = ("status", "date_done")
    search_fields = ("task_id",)
    search_help_text = "a task's id, the same as its job's id"

    def search(self, text: str) -> list[Path]:
        return [Path(TaskResult.objects.filter(task_id=text), Q(task_id=text))]


class TaskSelectWidget(UnfoldAdminSelectWidget, PlainTaskSelectWidget):
    pass


class PeriodicTaskForm(PlainPeriodicTaskForm):
    # Beat cannot send to an unknown queue, and reports the error only in its log.
    queue = forms.ChoiceField(
        choices=[("", "The task's default queue"), *Job.Queue.choices], required=False, widget=UnfoldAdminSelectWidget
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["task"].widget = UnfoldAdminTextInputWidget()
        self.fields["regtask"].widget = TaskSelectWidget()


@admin.register(PeriodicTask)
class PeriodicTaskAdmin(PlainPeriodicTaskAdmin, ModelAdmin):
    """The schedules of beat. Beat follows a change within seconds."""

    form = PeriodicTaskForm
    date_hierarchy = None
    list_display = ("name", "enabled", "scheduler", "last_run_at", "total_run_count")
    list_filter = ("enabled", "task")
    # A priority here would be the broker's number, but tasks have their own. Manual routing is left out.
    fieldsets = (
        (None, {"fields": ("name", "regtask", "task", "enabled", "description")}),
        (
            "Schedule",
            {"fields": ("interval", "crontab", "crontab_translation", "start_time", "last_run_at", "one_off")},
        ),
        ("Arguments", {"fields": ("args", "kwargs")}),
        ("Execution", {"fields": ("expires", "expire_seconds", "queue")}),
    )

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Offer actions only to users who may change schedules; django-celery-beat offers them to all viewers."""
        actions: dict[str, Any] = super().get_actions(request)
        return actions if self.has_change_permission(request) else {}


class PeriodicTaskInline(PlainPeriodicTaskInline, TabularInline):
    pass


@admin.register(IntervalSchedule)
class IntervalScheduleAdmin(PlainIntervalScheduleAdmin, ModelAdmin):
    inlines = (PeriodicTaskInline,)


@admin.register(CrontabSchedule)
class CrontabScheduleAdmin(PlainCrontabScheduleAdmin, ModelAdmin):
    inlines = (PeriodicTaskInline,)


@admin.register(AccessAttempt)
class AccessAttemptAdmin(ReadOnly, ModelAdmin):
    """Failed logins that count towards a lockout, and the locked-out users."""

    list_display = ("username", "ip_address", "failures_since_start", "attempt_time", "locked_until", "user_agent")
    search_fields = ("username", "ip_address")
    fields = ("username", "ip_address", "failures_since_start", "attempt_time", "user_agent", "path_info")
    actions = ("unlock",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        attempts: QuerySet[Any] = super().get_queryset(request)
        return attempts.filter(attempt_time__gt=timezone.now() - settings.AXES_COOLOFF_TIME).annotate(
            of_user=Window(Sum("failures_since_start"), partition_by=[F("username"), F("ip_address")]),
            of_address=Window(Sum("failures_since_start"), partition_by=F("ip_address")),
        )

    @admin.display(description="Locked out until")
    def locked_until(self, attempt: Any) -> datetime | None:
        is_locked = (
            attempt.of_user >= settings.AXES_FAILURE_LIMIT or attempt.of_address >= settings.LOCKOUT_ADDRESS_LIMIT
        )
        return attempt.attempt_time + settings.AXES_COOLOFF_TIME if is_locked else None

    @admin.action(description="Unlock", permissions=["unlock"])
    def unlock(self, request: HttpRequest, chosen: QuerySet[Any]) -> None:
        """Delete the counted failures of the chosen users and addresses."""
        unlocked = dict.fromkeys((attempt.username, attempt.ip_address) for attempt in chosen)
        for username, address in unlocked:
            forget(username, address)
        names = ", ".join(f"{username} from {address}" for username, address in unlocked)
        self.message_user(request, f"Unlocked: {names}.")

    def has_unlock_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("axes.delete_accessattempt")
