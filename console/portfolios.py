"""Portfolios, holdings and portfolio priorities in the admin, with imports and exports."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.contrib.auth.models import User
from django.core.signing import BadSignature
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils import timezone
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import action, display
from unfold.views import ChangeList

from console.jobs.groups import follow, may_request_jobs
from console.portfolio_filters import DataFilter
from console.upload_form import UploadForm
from market.freshness import FRESH, NEVER, PARKED, STALE
from market.jobs.names import describe_fetch
from market.models import Stock
from market.symbols import InvalidSymbol, parse_symbol
from portfolio.exports import download, export_portfolios, export_values
from portfolio.fetching import fetch_portfolios
from portfolio.files.reading import read_file
from portfolio.files.refused import ImportRefused
from portfolio.imports.changes import ImportedFile, plan_import
from portfolio.imports.preview import change_groups
from portfolio.imports.uploads import Upload, import_confirmed, seal, unseal
from portfolio.models import Holding, Portfolio, PortfolioPriority
from portfolio.tracking import WORDS, look_up
from stockqueue.signed_in import signed_in

IMPORT_PERMISSIONS = (
    *("portfolio.add_portfolio", "portfolio.change_portfolio"),
    *("portfolio.add_holding", "portfolio.change_holding"),
)
LINES_SHOWN = 1_000
"""Lines shown of each kind of change, and of problems, on an import's page; the rest is counted."""


class HoldingInline(TabularInline):
    model = Holding
    autocomplete_fields = ("stock",)
    extra = 1


@admin.register(Portfolio)
class PortfolioAdmin(ModelAdmin):
    list_display = ("name", "user", "worth", "percentile")
    readonly_fields = ("worth", "percentile")
    list_select_related = ("user",)
    search_fields = ("name", "user__username")
    autocomplete_fields = ("user",)
    inlines = (HoldingInline,)
    actions = ("fetch_now", "export_as_csv", "export_with_values")
    actions_list = ("import_file",)

    @admin.display(description="Value (currencies not converted)", ordering="value")
    def worth(self, portfolio: Portfolio) -> str | None:
        return None if portfolio.value is None else f"{portfolio.value:,.2f}"

    @admin.display(description="Worth more than", ordering="value_percentile")
    def percentile(self, portfolio: Portfolio) -> str | None:
        known = portfolio.value_percentile
        return None if known is None else f"{known:.0%} of the other portfolios"

    @admin.action(description="Fetch now", permissions=["fetch"])
    def fetch_now(self, request: HttpRequest, portfolios: QuerySet[Portfolio]) -> HttpResponse | None:
        return queue_portfolios(request, list(portfolios.select_related("user")))

    @admin.action(description="Export as CSV", permissions=["export"])
    def export_as_csv(self, request: HttpRequest, portfolios: QuerySet[Portfolio]) -> HttpResponse:
        return download(*export_portfolios(portfolios))

    @admin.action(description="Export with values", permissions=["export"])
    def export_with_values(self, request: HttpRequest, portfolios: QuerySet[Portfolio]) -> HttpResponse:
        return download("holdings.csv", export_values(Holding.objects.filter(portfolio__in=portfolios)))

    @action(description="Import", url_path="import", icon="upload", permissions=["import"])
    def import_file(self, request: HttpRequest) -> HttpResponse:
        """Show the upload form, then a preview of the import, and import after the confirmation."""
        user = signed_in(request)
        form = UploadForm(request.POST or None, request.FILES or None)
        confirmed = None
        if "sealed" in request.POST:
            try:
                upload, confirmed = unseal(request.POST["sealed"], user)
            except BadSignature:
                self.message_user(request, "The preview is no longer valid; upload the file again.", messages.ERROR)
                return redirect("admin:portfolio_portfolio_import_file")
            form = UploadForm(initial={"user": upload.user, "portfolio": upload.portfolio})
        elif form.is_valid():
            upload = form.uploaded()
        else:
            return self._ask_for_file(request, form)
        try:
            content = read_file(upload.content)
            planned = plan_import(content, upload.user, upload.portfolio)
        except ImportRefused as refused:
            return self._ask_for_file(request, form, upload.file_name, refused.problems)
        missing = _missing_permissions(user, planned)
        if confirmed and planned.changes_something and not missing:
            with transaction.atomic():
                if imported := import_confirmed(upload, content, confirmed):
                    self._log_import(user, upload, imported)
                    done = f"Imported {upload.file_name} into {upload.describe(imported)}: {imported}."
                    self.message_user(request, done, messages.SUCCESS)
                    # A portfolio's own page is slow after an import of thousands of holdings.
                    return redirect("admin:portfolio_portfolio_changelist")
            changed = "The portfolio has changed since the preview, and nothing was imported. This is the new preview."
            self.message_user(request, changed, messages.WARNING)
        return self._preview(request, upload, planned, missing)

    def _ask_for_file(
        self, request: HttpRequest, form: UploadForm, file_name: str = "", problems: Sequence[str] = ()
    ) -> HttpResponse:
        """The upload form; `problems` are the errors of a refused file."""
        context = {
            **self.admin_site.each_context(request),
            "title": "Import a portfolio",
            "opts": self.opts,
            "form": form,
            "file_name": file_name,
            "problems": problems[:LINES_SHOWN],
            "more": len(problems[LINES_SHOWN:]),
        }
        return TemplateResponse(request, "admin/portfolio/portfolio/import.html", context)

    def _preview(
        self, request: HttpRequest, upload: Upload, planned: ImportedFile, missing: Sequence[str]
    ) -> HttpResponse:
        user = signed_in(request)
        context = {
            **self.admin_site.each_context(request),
            "title": "Preview of an import",
            "opts": self.opts,
            "upload": upload,
            "imported": planned,
            "groups": change_groups(planned, LINES_SHOWN),
            "missing": missing,
            "sealed": "" if missing or not planned.changes_something else seal(upload, planned, user),
        }
        return TemplateResponse(request, "admin/portfolio/portfolio/import_preview.html", context)

    def _log_import(self, editor: User, upload: Upload, imported: ImportedFile) -> None:
        for one in imported.portfolios:
            portfolio = Portfolio.objects.get(user=upload.user, name=one.portfolio)
            flag = ADDITION if one.is_new else CHANGE
            what = f"Imported {upload.file_name} ({imported.content}): {imported.describe(one)}."
            LogEntry.objects.log_actions(editor.pk, [portfolio], flag, what)

    def has_fetch_permission(self, request: HttpRequest) -> bool:
        return may_fetch_portfolios(request)

    def has_import_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perms(IMPORT_PERMISSIONS))

    def has_export_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request) and _may_see_holdings(request)


@admin.register(Holding)
class HoldingAdmin(ModelAdmin):
    list_display = ("stock", "portfolio", "shares", "paid")
    list_select_related = ("stock", "portfolio")
    search_fields = ("stock__symbol", "portfolio__name", "portfolio__user__username")
    autocomplete_fields = ("stock", "portfolio")
    actions = ("export_with_values",)

    @admin.display(description="Buy price", ordering="buy_price", empty_value="unknown")
    def paid(self, holding: Holding) -> Decimal | None:
        return holding.buy_price

    @admin.action(description="Export with values", permissions=["view"])
    def export_with_values(self, request: HttpRequest, holdings: QuerySet[Holding]) -> HttpResponse:
        return download("holdings.csv", export_values(holdings))


class TrackedList(ChangeList):
    result_list: list[PortfolioPriority]

    def get_results(self, request: HttpRequest) -> None:
        """Look up the stocks of all rows of the page together."""
        super().get_results(request)
        self.result_list = look_up(self.result_list, timezone.now())


@admin.register(PortfolioPriority)
class PortfolioPriorityAdmin(ModelAdmin):
    """The priority scores of users' stocks, and the state of their data."""

    list_display = ("user", "stock", "priority_score", "is_active", "last_fetch", "analysed", "data")
    list_select_related = ("user", "stock")
    list_filter = ("is_active", DataFilter)
    ordering = ("-priority_score", "-id")
    search_fields = ("user__username", "stock__symbol")
    search_help_text = "Whole user names and symbols"
    show_full_result_count = False
    autocomplete_fields = ("user", "stock")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return TrackedList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[PortfolioPriority], search_term: str
    ) -> tuple[QuerySet[PortfolioPriority], bool]:
        """Look up users and stocks first, because a condition on two joined tables could use no index."""
        for word in search_term.split():
            users = list(User.objects.filter(username=word).values_list("pk", flat=True))
            queryset = queryset.filter(Q(user__in=users) | Q(stock__in=_stocks_named(word)))
        return queryset, False

    @admin.display(description="Last data fetch", ordering="stock__checked_at")
    def last_fetch(self, row: PortfolioPriority) -> str | None:
        return _shown(row.stock.checked_at)

    @admin.display(description="Last analysis")
    def analysed(self, row: PortfolioPriority) -> str | None:
        found = row.last_analysis
        return None if found is None else f"{_shown(found.created_at)} ({found.kind})"

    @display(description="Data", label={FRESH: "success", STALE: "warning", NEVER: "danger", PARKED: "info"})
    def data(self, row: PortfolioPriority) -> tuple[str, str]:
        return row.freshness, WORDS[row.freshness]


def _shown(moment: datetime | None) -> str | None:
    return None if moment is None else f"{timezone.localtime(moment):%Y-%m-%d %H:%M}"


def _stocks_named(text: str) -> list[int]:
    """The ids of the stock with this symbol; empty for a text that is not a symbol."""
    with suppress(InvalidSymbol):
        return list(Stock.objects.filter(symbol=parse_symbol(text)).values_list("pk", flat=True))
    return []


def may_fetch_portfolios(request: HttpRequest) -> bool:
    """Whether the user may fetch a portfolio's stocks and see its holdings."""
    may_see = admin.site.get_model_admin(Portfolio).has_view_permission(request) and _may_see_holdings(request)
    return may_see and may_request_jobs(request.user)


def queue_portfolios(request: HttpRequest, portfolios: Sequence[Portfolio]) -> HttpResponse | None:
    """Enqueue a fetch of all held stocks and redirect to the progress; None for empty portfolios."""
    user = signed_in(request)
    with transaction.atomic():
        requested = fetch_portfolios(portfolios, user)
        return follow(request, describe_fetch(name_portfolios(portfolios)), requested, portfolios)


def name_portfolios(portfolios: Sequence[Portfolio]) -> str:
    """`Main of demo`, or `12 portfolios`."""
    return f"{portfolios[0]} of {portfolios[0].user}" if len(portfolios) == 1 else f"{len(portfolios)} portfolios"


def _may_see_holdings(request: HttpRequest) -> bool:
    return bool(admin.site.get_model_admin(Holding).has_view_permission(request))


def _missing_permissions(editor: User, imported: ImportedFile) -> list[str]:
    """The import's changes that its editor has no permission for, each with the permission."""
    needs = (
        ("add new stocks", "market.add_stock", imported.new_stocks),
        ("remove holdings", "portfolio.delete_holding", any(one.removed for one in imported.portfolios)),
    )
    return [f"{what} ({name})" for what, name, affected in needs if affected and not editor.has_perm(name)]
