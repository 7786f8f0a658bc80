from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin, TabularInline

from market.admin import ReadOnly
from market.admin import StockAdmin as MarketStockAdmin
from market.models import Stock
from tasks.models import Job, JobEvent, JobRequest
from tasks.requests import request_fetches


def may_request_jobs(user: Any) -> bool:
    """Who may cause jobs from the admin: the permission to add a job."""
    return bool(user.has_perm("tasks.add_job"))


@admin.register(Stock)
class StockAdmin(MarketStockAdmin):
    actions = ("fetch_now",)

    @admin.action(description="Fetch now", permissions=["fetch"])
    def fetch_now(self, request: HttpRequest, stocks: QuerySet[Stock]) -> None:
        assert isinstance(request.user, User)  # noqa: S101  (the admin lets nobody else in)
        requested = request_fetches(list(stocks), Job.Trigger.USER_REQUEST, request.user)
        self.message_user(request, f"Fetch now: {requested}.", messages.SUCCESS)

    def has_fetch_permission(self, request: HttpRequest) -> bool:
        return may_request_jobs(request.user)


class JobRequestInline(ReadOnly, TabularInline):
    model = JobRequest
    fields = ("user", "trigger", "created_at")
    extra = 0


class JobEventInline(ReadOnly, TabularInline):
    model = JobEvent
    fields = ("seq", "event", "created_at", "published_at", "error")
    ordering = ("seq",)
    extra = 0


@admin.register(Job)
class JobAdmin(ReadOnly, ModelAdmin):
    list_display = (
        "created_at",
        "symbol",
        "job_type",
        "requesters",
        "trigger",
        "priority",
        "status",
        "outcome",
        "error",
    )
    list_filter = ("status", "queue", "priority", "trigger", "outcome", "job_type")
    search_fields = ("id", "symbol", "user__username")
    show_full_result_count = False
    inlines = (JobRequestInline, JobEventInline)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Job]:
        return super().get_queryset(request).prefetch_related("requests__user")

    @admin.display(description="Requested by")
    def requesters(self, job: Job) -> str:
        return ", ".join(str(request.user or "system") for request in job.requests.all())


@admin.register(JobEvent)
class JobEventAdmin(ReadOnly, ModelAdmin):
    list_display = ("id", "job", "seq", "event", "created_at", "published_at", "error")
    list_filter = (
        "event",
        ("published_at", admin.EmptyFieldListFilter),
        ("error", admin.EmptyFieldListFilter),
    )
    list_select_related = ("job",)
    search_fields = ("job__id", "job__symbol")
    show_full_result_count = False
