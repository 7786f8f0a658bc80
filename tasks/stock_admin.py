"""Stocks in the admin, and what can be fetched of them."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminSingleDateWidget

from market.admin import ReadOnly
from market.admin import StockAdmin as MarketStockAdmin
from market.models import Stock
from tasks.backfill import InvalidRange, Mode, check_range, preview
from tasks.models import Backfill, Job
from tasks.requests import request_fetches

AT_ONCE = 500
"""Rows that one action is for; more hidden fields than that, a form may not have."""
_MODES = {
    Mode.GAPS: "only the gaps: sessions without a bar",
    Mode.UPDATE: "all days; bars that differ are overwritten",
    Mode.REPLACE: "all days; bars that the source does not have are removed",
}


def may_request_jobs(user: Any) -> bool:
    """Who may cause jobs from the admin: the permission to add a job."""
    return bool(user.has_perm("tasks.add_job"))


class BackfillForm(forms.Form):
    start = forms.DateField(label="First day", widget=UnfoldAdminSingleDateWidget)
    end = forms.DateField(
        label="Last day", required=False, widget=UnfoldAdminSingleDateWidget, help_text="Included; empty: today."
    )
    mode = forms.ChoiceField(
        label="Fetch",
        choices=[(str(mode), words) for mode, words in _MODES.items()],
        widget=UnfoldAdminSelectWidget,
    )

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or {}
        if given.get("start") and "end" in given:
            try:
                check_range(given["start"], given["end"], timezone.now().date())
            except InvalidRange as error:
                self.add_error("start" if error.of_start else "end", f"{error}.")
        return given


@admin.register(Backfill)
class BackfillAdmin(ReadOnly, ModelAdmin):
    list_display = fields = ("user", "start", "end", "mode", "created_at", "progress", "told_at")
    list_select_related = ("user",)
    list_filter = ("mode",)
    search_fields = ("user__username", "jobs__symbol")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Backfill]:
        ended = Count("jobs", filter=Q(jobs__finished_at__isnull=False))
        return super().get_queryset(request).annotate(all_jobs=Count("jobs"), ended_jobs=ended)

    @admin.display(description="Jobs that have ended")
    def progress(self, backfill: Any) -> str:
        return f"{backfill.ended_jobs} of {backfill.all_jobs}"


class StockAdmin(MarketStockAdmin):
    actions = ("fetch_now", "backfill")

    @admin.action(description="Fetch now", permissions=["fetch"])
    def fetch_now(self, request: HttpRequest, stocks: QuerySet[Stock]) -> None:
        assert isinstance(request.user, User)  # noqa: S101  (the admin lets nobody else in)
        requested = request_fetches(list(stocks), Job.Trigger.USER_REQUEST, request.user)
        self.message_user(request, f"Fetch now: {requested}.", messages.SUCCESS)

    @admin.action(description="Backfill", permissions=["fetch"])
    def backfill(self, request: HttpRequest, stocks: QuerySet[Stock]) -> HttpResponse | None:
        """Asks for the days, shows what they would cost, and queues them when that is confirmed."""
        assert isinstance(request.user, User)  # noqa: S101  (the admin lets nobody else in)
        chosen = list(stocks[: AT_ONCE + 1])
        if len(chosen) > AT_ONCE:
            self.message_user(request, f"More than {AT_ONCE} stocks are chosen; choose fewer.", messages.ERROR)
            return None
        form = BackfillForm(request.POST if "start" in request.POST else None)
        cost = None
        if form.is_valid():
            start, end, mode = form.cleaned_data["start"], form.cleaned_data["end"], Mode(form.cleaned_data["mode"])
            if "confirmed" in request.POST:
                with transaction.atomic():
                    requested = request_fetches(
                        chosen, Job.Trigger.USER_REQUEST, request.user, start=start, end=end, mode=mode
                    )
                    what = f"Backfill of {start} to {end or 'today'}, {mode}."
                    LogEntry.objects.log_actions(request.user.pk, chosen, CHANGE, what)
                self.message_user(request, f"Backfill: {requested}.", messages.SUCCESS)
                return None
            cost = preview(chosen, start, end, mode, now=timezone.now())
        context = {
            **self.admin_site.each_context(request),
            "title": "Backfill",
            "opts": self.opts,
            "stocks": chosen,
            "form": form,
            "cost": cost,
            "action_checkbox_name": ACTION_CHECKBOX_NAME,
            "media": self.media + form.media,
        }
        return TemplateResponse(request, "admin/market/stock/backfill.html", context)

    def has_fetch_permission(self, request: HttpRequest) -> bool:
        return may_request_jobs(request.user)
