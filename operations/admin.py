"""The tables of Django, django-celery-results and django-celery-beat, in the admin's own look.

Groups of tasks, and schedules at one moment or by the sun, are not used.
"""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest
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

from market.admin import ReadOnly
from tasks.models import Job, ScheduleRun

_UNUSED = (GroupResult, ClockedSchedule, SolarSchedule)

for _model in (User, Group, TaskResult, PeriodicTask, IntervalSchedule, CrontabSchedule, *_UNUSED):
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
class TaskResultAdmin(PlainTaskResultAdmin, ModelAdmin):
    """What Celery keeps of each task; its id is the job's."""


class TaskSelectWidget(UnfoldAdminSelectWidget, PlainTaskSelectWidget):
    pass


class PeriodicTaskForm(PlainPeriodicTaskForm):
    # Beat cannot send to a queue that does not exist, and says so in its log only.
    queue = forms.ChoiceField(
        choices=[("", "The task's own"), *Job.Queue.choices], required=False, widget=UnfoldAdminSelectWidget
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["task"].widget = UnfoldAdminTextInputWidget()
        self.fields["regtask"].widget = TaskSelectWidget()


@admin.register(PeriodicTask)
class PeriodicTaskAdmin(PlainPeriodicTaskAdmin, ModelAdmin):
    """When beat sends which task. Beat takes a change up within seconds."""

    form = PeriodicTaskForm
    date_hierarchy = None
    list_display = ("name", "enabled", "scheduler", "last_run_at", "total_run_count")
    list_filter = ("enabled", "task")
    # A priority would be the broker's number: tasks have their own. Routing by hand is left out.
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
        """django-celery-beat lets everybody who sees schedules disable and run them."""
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


@admin.register(ScheduleRun)
class ScheduleRunAdmin(ReadOnly, ModelAdmin):
    list_display = ("schedule", "slot", "ran_at")
    list_filter = ("schedule",)
    search_fields = ("schedule",)
