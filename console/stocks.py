"""Stocks in the admin, with their fetches, backfills and analyses."""

from collections.abc import Sequence

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db import transaction
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from unfold.admin import ModelAdmin

from console.backfill_form import BackfillForm
from console.held_filters import HeldFilter
from console.jobs.groups import follow, may_request_jobs
from console.kit.selection import selected_rows
from market.jobs.names import describe_analysis, describe_backfill, describe_fetch, name_stocks
from market.jobs.requests import request_analyses, request_fetches
from market.models import Analysis, SecurityNumber, Stock
from market.renames import NotRenamed, rename
from stockqueue.signed_in import signed_in
from tasks.models import Job


def queue_fetch(request: HttpRequest, stocks: Sequence[Stock]) -> HttpResponse | None:
    """Enqueue fetches of the stocks and redirect to the progress; None without stocks."""
    user = signed_in(request)
    with transaction.atomic():
        requested = request_fetches(stocks, Job.Trigger.USER_REQUEST, user)
        return follow(request, describe_fetch(name_stocks(stocks)), requested, stocks)


def queue_backfill(
    request: HttpRequest, form: BackfillForm, subject: str, stocks: Sequence[Stock], about: Sequence[Model]
) -> HttpResponse | None:
    """Enqueue the backfill of a valid form and redirect to the progress. `subject` names the chosen `about`."""
    user = signed_in(request)
    start, end, mode = form.range()
    with transaction.atomic():
        requested = request_fetches(stocks, Job.Trigger.USER_REQUEST, user, start=start, end=end, mode=mode)
        return follow(request, describe_backfill(subject, start, end, mode), requested, about)


@admin.register(Stock)
class StockAdmin(ModelAdmin):
    list_display = (
        *("symbol", "name", "exchange", "currency", "status", "renamed_to", "checked_at", "source"),
        "yearly_volatility",
    )
    list_filter = ("status", "exchange", "currency", "source", HeldFilter)
    search_fields = ("symbol", "name")
    readonly_fields = ("renamed_to", "checked_at", "source", "yearly_volatility")
    actions = ("fetch_now", "backfill", "analyse_now", "rename")

    @admin.display(description="Volatility", ordering="volatility")
    def yearly_volatility(self, stock: Stock) -> str | None:
        return None if stock.volatility is None else f"{stock.volatility:.0%}"

    @admin.action(description="Fetch now", permissions=["fetch"])
    def fetch_now(self, request: HttpRequest, stocks: QuerySet[Stock]) -> HttpResponse | None:
        return queue_fetch(request, list(stocks))

    @admin.action(description="Backfill", permissions=["fetch"])
    def backfill(self, request: HttpRequest, stocks: QuerySet[Stock]) -> HttpResponse | None:
        """Show the form of days, then a preview of the cost, and enqueue after the confirmation."""
        chosen = selected_rows(request, stocks)
        if not chosen:
            return None
        form = BackfillForm(request.POST if "start" in request.POST else None)
        context = {
            **self.admin_site.each_context(request),
            "title": "Backfill",
            "opts": self.opts,
            "stocks": chosen,
            "form": form,
            "action_checkbox_name": ACTION_CHECKBOX_NAME,
            "media": self.media + form.media,
        }
        if form.is_valid():
            if form.is_confirmed(chosen):
                return queue_backfill(request, form, name_stocks(chosen), chosen, chosen)
            context |= form.shown(chosen)
        return TemplateResponse(request, "admin/market/stock/backfill.html", context)

    @admin.action(description="Analyse now", permissions=["fetch"])
    def analyse_now(self, request: HttpRequest, stocks: QuerySet[Stock]) -> HttpResponse | None:
        """Enqueue analyses of all kinds; an analysis that is still valid is not repeated."""
        user = signed_in(request)
        chosen = selected_rows(request, stocks)
        if not chosen:
            return None
        with transaction.atomic():
            requested = request_analyses(chosen, Job.Trigger.USER_REQUEST, user, analysis_types=list(Analysis.Kind))
            return follow(request, describe_analysis(name_stocks(chosen)), requested, chosen)

    @admin.action(description="Rename: use the new symbol", permissions=["change"])
    def rename(self, request: HttpRequest, stocks: QuerySet[Stock]) -> None:
        """Rename stocks that a source lists under a new symbol; the next fetch asks for that symbol."""
        for stock in selected_rows(request, stocks) or ():
            try:
                old = rename(stock)
            except NotRenamed as error:
                self.message_user(request, str(error), messages.ERROR)
            else:
                self.log_change(request, stock, f"Renamed from {old} to {stock}.")
                self.message_user(request, f"{old} is {stock} now.", messages.SUCCESS)

    def has_fetch_permission(self, request: HttpRequest) -> bool:
        return may_request_jobs(request.user)


@admin.register(SecurityNumber)
class SecurityNumberAdmin(ModelAdmin):
    """The symbols of securities' numbers, for imports of portfolios."""

    list_display = ("number", "symbol")
    search_fields = ("number", "symbol")
