from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin, TabularInline

from portfolio.fetching import fetch_portfolios
from portfolio.models import Holding, Portfolio, PortfolioPriority
from tasks.admin import may_request_jobs


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
    actions = ("fetch_now",)

    @admin.display(description="Value (currencies not converted)", ordering="value")
    def worth(self, portfolio: Portfolio) -> str | None:
        return None if portfolio.value is None else f"{portfolio.value:,.2f}"

    @admin.display(description="Worth more than", ordering="value_percentile")
    def percentile(self, portfolio: Portfolio) -> str | None:
        known = portfolio.value_percentile
        return None if known is None else f"{known:.0%} of the other portfolios"

    @admin.action(description="Fetch now", permissions=["fetch"])
    def fetch_now(self, request: HttpRequest, portfolios: QuerySet[Portfolio]) -> None:
        assert isinstance(request.user, User)  # noqa: S101  (the admin lets nobody else in)
        requested = fetch_portfolios(portfolios, request.user)
        self.message_user(request, f"Fetch now: {requested}.", messages.SUCCESS)

    def has_fetch_permission(self, request: HttpRequest) -> bool:
        return may_request_jobs(request.user)


@admin.register(Holding)
class HoldingAdmin(ModelAdmin):
    list_display = ("stock", "portfolio", "shares", "buy_price")
    list_select_related = ("stock", "portfolio")
    search_fields = ("stock__symbol", "portfolio__name", "portfolio__user__username")
    autocomplete_fields = ("stock", "portfolio")


@admin.register(PortfolioPriority)
class PortfolioPriorityAdmin(ModelAdmin):
    list_display = ("user", "stock", "priority_score", "is_active", "last_fetch")
    list_select_related = ("user", "stock")
    list_filter = ("is_active",)
    search_fields = ("user__username", "stock__symbol")
    autocomplete_fields = ("user", "stock")

    @admin.display(description="Last data fetch", ordering="stock__checked_at")
    def last_fetch(self, row: PortfolioPriority) -> object:
        return row.stock.checked_at
