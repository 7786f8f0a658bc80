"""The page "Fetch" in the admin: fetches a symbol or a portfolio now, or queues a backfill."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.models import ADDITION, LogEntry
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from unfold.admin import ModelAdmin

from console.fetch_forms import PortfolioChoices, PortfolioForm, RangeForm, SymbolForm
from console.jobs.groups import may_request_jobs
from console.kit.read_only import ReadOnly
from console.portfolios import may_fetch_portfolios, name_portfolios, queue_portfolios
from console.stocks import queue_backfill, queue_fetch
from market.jobs.names import name_stocks
from market.models import Stock
from operations.models import Fetch


@admin.register(Fetch)
class FetchAdmin(ReadOnly, ModelAdmin):
    """A page in place of the model's list. A post redirects to its progress, so a reload enqueues nothing."""

    def has_view_permission(self, request: HttpRequest, _obj: object = None) -> bool:
        return may_request_jobs(request.user)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        choices = PortfolioChoices.as_view(admin_site=self.admin_site)
        return [
            path("", view(self.page), name="operations_fetch_changelist"),
            path("portfolios/", view(choices), name="operations_fetch_portfolios"),
        ]

    def page(self, request: HttpRequest) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        offered = _forms(request)
        preview: dict[str, Any] = {}
        if request.method == "POST":
            form = offered.get(request.POST.get("form", ""))
            if form is None:
                raise PermissionDenied
            if form.is_valid():
                if isinstance(form, RangeForm) and not form.is_confirmed(form.stocks):
                    preview = form.shown(form.stocks)
                elif answer := _queue(request, form):
                    return answer
        context = {
            **self.admin_site.each_context(request),
            **preview,
            "title": "Fetch",
            "forms": offered,
            "media": sum((form.media for form in offered.values()), self.media),
        }
        return TemplateResponse(request, "admin/operations/fetch/page.html", context)


def _forms(request: HttpRequest) -> dict[str, forms.Form]:
    """The user's available forms by name; the posted form holds the posted data."""
    posted = request.POST.get("form")
    may_add_stocks = request.user.has_perm("market.add_stock")
    may_choose_portfolio = may_fetch_portfolios(request)

    def filled(name: str) -> dict[str, Any]:
        return {"data": request.POST if posted == name else None, "prefix": name}

    offered: dict[str, forms.Form] = {"symbol": SymbolForm(**filled("symbol"), may_add_stocks=may_add_stocks)}
    if may_choose_portfolio:
        offered["portfolio"] = PortfolioForm(**filled("portfolio"))
    offered["backfill"] = RangeForm(
        **filled("backfill"), may_add_stocks=may_add_stocks, may_choose_portfolio=may_choose_portfolio
    )
    return offered


def _queue(request: HttpRequest, form: forms.Form) -> HttpResponse | None:
    """Enqueue the fetches of a valid form. None if no stock is left to fetch."""
    with transaction.atomic():
        match form:
            case SymbolForm():
                return queue_fetch(request, _find_or_create(request, [form.cleaned_data["symbol"]]))
            case PortfolioForm():
                return queue_portfolios(request, [form.cleaned_data["portfolio"]])
            case RangeForm():
                return _queue_range(request, form)
    raise TypeError(form)


def _queue_range(request: HttpRequest, form: RangeForm) -> HttpResponse | None:
    portfolio = form.chosen_portfolio()
    if portfolio is not None:
        return queue_backfill(request, form, name_portfolios([portfolio]), form.stocks, [portfolio])
    stocks = _find_or_create(request, form.cleaned_data["symbols"])
    return queue_backfill(request, form, name_stocks(stocks), stocks, stocks)


def _find_or_create(request: HttpRequest, symbols: Sequence[str]) -> list[Stock]:
    """The stocks with these symbols. New stocks are created and logged in the admin's log."""
    known = set(Stock.objects.filter(symbol__in=symbols).values_list("symbol", flat=True))
    stocks = Stock.objects.find_or_create(symbols)
    new = [stock for stock in stocks if stock.symbol not in known]
    LogEntry.objects.log_actions(request.user.pk, new, ADDITION, "Added for a fetch.")  # type: ignore[arg-type]
    return stocks
