"""The page "Stock data" in the admin."""

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import URLPattern, path
from django_htmx.http import HttpResponseClientRefresh
from unfold.admin import ModelAdmin

from console.dashboard import charts
from console.dashboard.page import collect
from console.dashboard.views import CHARTS_REFRESH_SECONDS, FOLDER, REFRESH_SECONDS, needs_database
from console.jobs.groups import may_request_jobs
from console.kit.read_only import ReadOnly
from operations.models import StockData
from operations.monitoring.health import Readiness
from operations.monitoring.readings import Period


@admin.register(StockData)
class StockDataAdmin(ReadOnly, ModelAdmin):
    """A page in place of the model's list. The page refreshes its figures every few seconds."""

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
            "every": REFRESH_SECONDS,
            "charts": charts.awaited(_period(request)),
            "charts_every": CHARTS_REFRESH_SECONDS,
            "may_fetch": may_request_jobs(request.user),
        }
        return render(request, f"{FOLDER}/page.html", context)

    def figures(self, request: HttpRequest, readiness: Readiness) -> HttpResponse:
        """The page's changing part. Without the permission to view, the whole page reloads and shows the login."""
        if not self._may_see(request):
            return HttpResponseClientRefresh()
        return render(request, f"{FOLDER}/figures.html", {"page": collect(readiness)})

    def charts(self, request: HttpRequest, readiness: Readiness) -> HttpResponse:
        """The page's charts, with the same permission as the figures."""
        if not self._may_see(request):
            return HttpResponseClientRefresh()
        return render(request, f"{FOLDER}/charts.html", {"charts": charts.collect(_period(request))})

    def _may_see(self, request: HttpRequest) -> bool:
        return bool(self.admin_site.has_permission(request) and self.has_view_permission(request))


def _period(request: HttpRequest) -> Period:
    return charts.period_of(request.GET.get("charts", ""))
