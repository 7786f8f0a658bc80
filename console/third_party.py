"""The tables of Django, django-celery-results and django-celery-beat, in the admin's own look.

Groups of tasks, and schedules at one moment or by the sun, are not used.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from axes.models import AccessAttempt
from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.core.exceptions import PermissionDenied
from django.db.models import F, Q, QuerySet, Sum, Window
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import URLPattern, path
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
from django_htmx.http import HttpResponseClientRefresh
from unfold.admin import ModelAdmin, TabularInline
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from console.dashboard import charts
from console.dashboard.page import collect
from console.dashboard.views import CHARTS_EVERY, EVERY, FOLDER, needs_database
from console.fetch_page import FetchAdmin
from console.held_filters import HeldFilter, LoginFilter
from console.jobs.groups import may_request_jobs
from console.jobs.mqtt_topics import JobAdmin
from console.jobs.register import JobRequestAdmin
from console.kit.keyset import KeysetList, Lookups, Path
from console.kit.read_only import ReadOnly
from console.stocks import StockAdmin
from market.models import Stock
from operations.models import Alert, Fetch, StockData
from operations.monitoring.alerts import acknowledge
from operations.monitoring.health import Readiness
from operations.monitoring.last_hour import HOUR
from operations.monitoring.readings import Period
from operations.security.lockout import forget
from tasks.models import Job, JobRequest, ScheduleRun

_UNUSED = (GroupResult, ClockedSchedule, SolarSchedule)
_REPLACED = (User, Group, Stock, Job, JobRequest, TaskResult, PeriodicTask, IntervalSchedule, CrontabSchedule)

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
    """What Celery keeps of each task; its id is the job's."""

    moment = "date_created"
    nothing_yet = "Celery keeps here what came of the tasks of a day."
    date_hierarchy = None
    list_filter = ("status", "date_done")
    search_fields = ("task_id",)
    search_help_text = "a task's id, which is its job's"

    def search(self, text: str) -> list[Path]:
        return [Path(TaskResult.objects.filter(task_id=text), Q(task_id=text))]


@admin.register(Stock)
class HeldStockAdmin(StockAdmin):
    list_filter = (*StockAdmin.list_filter, HeldFilter)


@admin.register(JobRequest)
class LoginRequestAdmin(JobRequestAdmin):
    list_filter = (*JobRequestAdmin.list_filter, LoginFilter)

    def paths(self, lookups: Lookups) -> Iterator[Path]:
        if LoginFilter.parameter_name in lookups:
            logins = JobRequest.objects.filter(trigger=Job.Trigger.USER_LOGIN, created_at__gte=timezone.now() - HOUR)
            yield Path(logins.order_by("created_at"), Q())
        yield from super().paths(lookups)


admin.site.register(Job, JobAdmin)


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


@admin.register(Alert)
class AlertAdmin(ReadOnly, ModelAdmin):
    """What is out of bounds, and what was. Whoever acknowledges one tells the others that somebody looks after it."""

    list_display = (
        "text",
        "name",
        "state",
        "value",
        "threshold",
        "since",
        "raised_at",
        "cleared_at",
        "acknowledged_by",
    )
    list_filter = ("state", "name")
    list_select_related = ("acknowledged_by",)
    actions = ("acknowledge",)

    def has_acknowledge_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("operations.acknowledge_alert")

    @admin.action(description="Acknowledge", permissions=["acknowledge"])
    def acknowledge(self, request: HttpRequest, alerts: QuerySet[Alert]) -> None:
        done = acknowledge(alerts, request.user)
        for alert in done:
            self.log_change(request, alert, "Acknowledged.")
        said = f"Acknowledged: {', '.join(alert.name for alert in done)}." if done else "None of these is open."
        self.message_user(request, said, messages.SUCCESS if done else messages.WARNING)


@admin.register(StockData)
class StockDataAdmin(ReadOnly, ModelAdmin):
    """A page in place of a list. It asks for its figures anew every few seconds."""

    def get_urls(self) -> list[URLPattern]:
        page = needs_database(self.admin_site.admin_view(self.page), "away_page.html")
        figures = needs_database(self.figures, "away.html")
        history = needs_database(self.charts, "away.html")
        return [
            path("", page, name="operations_stockdata_changelist"),
            path("figures/", figures, name="operations_stockdata_figures"),
            path("charts/", history, name="operations_stockdata_charts"),
        ]

    def page(self, request: HttpRequest, readiness: Readiness) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "title": "Stock data",
            "page": collect(readiness),
            "every": EVERY,
            "charts": charts.awaited(_period(request)),
            "charts_every": CHARTS_EVERY,
            "may_fetch": may_request_jobs(request.user),
        }
        return render(request, f"{FOLDER}/page.html", context)

    def figures(self, request: HttpRequest, readiness: Readiness) -> HttpResponse:
        """The part of the page that changes. Who may not see it any more is led to the login by the whole page."""
        if not self._may_see(request):
            return HttpResponseClientRefresh()
        return render(request, f"{FOLDER}/figures.html", {"page": collect(readiness)})

    def charts(self, request: HttpRequest, readiness: Readiness) -> HttpResponse:
        """The same of the charts."""
        if not self._may_see(request):
            return HttpResponseClientRefresh()
        return render(request, f"{FOLDER}/charts.html", {"charts": charts.collect(_period(request))})

    def _may_see(self, request: HttpRequest) -> bool:
        return bool(self.admin_site.has_permission(request) and self.has_view_permission(request))


def _period(request: HttpRequest) -> Period:
    return charts.period_of(request.GET.get("charts", ""))


admin.site.register(Fetch, FetchAdmin)


@admin.register(ScheduleRun)
class ScheduleRunAdmin(ReadOnly, ModelAdmin):
    list_display = ("schedule", "slot", "ran_at")
    list_filter = ("schedule",)
    search_fields = ("schedule",)


@admin.register(AccessAttempt)
class AccessAttemptAdmin(ReadOnly, ModelAdmin):
    """Failed logins that count, and who is locked out by them."""

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
        """Forget the failures of these users from these addresses."""
        unlocked = dict.fromkeys((attempt.username, attempt.ip_address) for attempt in chosen)
        for username, address in unlocked:
            forget(username, address)
        names = ", ".join(f"{username} from {address}" for username, address in unlocked)
        self.message_user(request, f"May log in again: {names}.")

    def has_unlock_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("axes.delete_accessattempt")
