"""Bars, news, analyses, data sources and LLM usage in the admin."""

from collections.abc import Iterator
from typing import Any

from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from console.kit.keyset import KeysetList, Lookups, Path, values_of
from console.kit.read_only import ReadOnly
from console.kit.selection import selected_rows
from market.models import Analysis, BarDecision, LlmDay, NewsItem, PriceBar, SourceState, Stock, StockSplit
from market.prices.decisions import decide, revoke
from market.sources.budget import usage_of
from market.symbols import InvalidSymbol, parse_symbol
from stockqueue.wording import name_some

SHOWN = 10
"""Bars named in a message."""


class OfStocks(ReadOnly, KeysetList):
    """Rows about stocks, found by symbol. `is_in_order`: an index has a stock's rows in the list's order."""

    is_in_order = True
    list_select_related = ("stock",)
    search_fields = ("stock__symbol",)
    search_help_text = "a stock's symbol"

    def search(self, text: str) -> list[Path]:
        try:
            stocks = Stock.objects.filter(symbol=parse_symbol(text))
        except InvalidSymbol:
            return []
        rows = self.model._default_manager
        return [Path(rows.filter(stock=stock), Q(stock=stock), is_in_order=self.is_in_order) for stock in stocks]


@admin.register(PriceBar)
class PriceBarAdmin(OfStocks):
    """Bars by stock, the last added stock first; within a stock, the newest day first.

    A person with the permission `decide_bar` accepts, locks, deletes or corrects bars. Fetches respect the decision.
    """

    key = ("stock_id", "date")
    nothing_yet = "Bars are stored by the first fetch of a stock."
    list_display = ("stock", "date", "open", "high", "low", "close", "adj_close", "volume", "is_suspicious")
    list_filter = ("is_suspicious",)
    fields = ("stock", "date", "open", "high", "low", "close", "adj_close", "volume", "is_suspicious")
    readonly_fields = ("stock", "date", "is_suspicious")
    actions = ("accept", "lock", "delete_for_good")

    def describe_place(self, first_value: Any) -> str:
        return str(Stock.objects.get(pk=first_value))

    def paths(self, lookups: Lookups) -> Iterator[Path]:
        if values_of(lookups, "is_suspicious") == {"1"}:
            yield Path(PriceBar.objects.filter(is_suspicious=True), Q(is_suspicious=True), is_in_order=True)

    def has_decide_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("market.decide_bar")

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return self.has_decide_permission(request)

    def save_model(self, request: HttpRequest, obj: PriceBar, form: Any, change: bool) -> None:
        """Correct a bar, and lock it."""
        corrected = {name: form.cleaned_data[name] for name in form.changed_data}
        decide(obj, BarDecision.Kind.LOCKED, request.user.get_username(), corrected)

    @admin.action(description="Accept: the close is right", permissions=["decide"])
    def accept(self, request: HttpRequest, bars: QuerySet[PriceBar]) -> None:
        self._decide(request, bars, BarDecision.Kind.ACCEPTED)

    @admin.action(description="Lock: fetches leave the bar as it is", permissions=["decide"])
    def lock(self, request: HttpRequest, bars: QuerySet[PriceBar]) -> None:
        self._decide(request, bars, BarDecision.Kind.LOCKED)

    @admin.action(description="Delete: fetches store no bar of the day", permissions=["decide"])
    def delete_for_good(self, request: HttpRequest, bars: QuerySet[PriceBar]) -> None:
        self._decide(request, bars, BarDecision.Kind.DELETED)

    def _decide(self, request: HttpRequest, bars: QuerySet[PriceBar], kind: BarDecision.Kind) -> None:
        selected = selected_rows(request, bars.select_related("stock"))
        if selected is None:
            return
        for bar in selected:
            self.log_change(request, bar, f"{kind.label}.")
            decide(bar, kind, request.user.get_username())
        names = name_some([f"{bar.stock} on {bar.date}" for bar in selected], SHOWN)
        self.message_user(request, f"{kind.label}: {names}.", messages.SUCCESS)


@admin.register(StockSplit)
class StockSplitAdmin(ReadOnly, ModelAdmin):
    """Splits as the source tells them, and whether holdings are adjusted to them."""

    list_display = ("stock", "date", "ratio", "followed_at", "withdrawn_at")
    list_select_related = ("stock",)
    search_fields = ("stock__symbol",)


@admin.register(BarDecision)
class BarDecisionAdmin(ReadOnly, ModelAdmin):
    """Decisions about bars; revoking a decision lets fetches write the bar again."""

    list_display = ("stock", "date", "kind", "decided_at", "decided_by", "close_before")
    list_filter = ("kind",)
    list_select_related = ("stock",)
    search_fields = ("stock__symbol",)
    actions = ("revoke",)

    @admin.display(description="Close before")
    def close_before(self, decision: BarDecision) -> float | None:
        close: float | None = decision.before.get("close")
        return close

    def has_decide_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("market.decide_bar")

    @admin.action(description="Revoke: fetches write the bar again", permissions=["decide"])
    def revoke(self, request: HttpRequest, decisions: QuerySet[BarDecision]) -> None:
        selected = selected_rows(request, decisions.select_related("stock"))
        for decision in selected or ():
            self.log_change(request, decision, "Revoked.")
            revoke(decision, request.user.get_username())
        if selected:
            names = name_some([f"{one.stock} on {one.date}" for one in selected], SHOWN)
            self.message_user(request, f"Revoked: {names}. The next fetch may write the bars.", messages.SUCCESS)


@admin.register(SourceState)
class SourceStateAdmin(ReadOnly, ModelAdmin):
    list_display = fields = ("source", "used", "left", "pause")

    @admin.display(description="Requests in the last minute")
    def used(self, state: SourceState) -> str:
        usage = usage_of(state.source)
        return f"{usage.used} of {usage.limit}"

    @admin.display(description="Requests left")
    def left(self, state: SourceState) -> int:
        return usage_of(state.source).left

    @admin.display(description="Paused until")
    def pause(self, state: SourceState) -> str | None:
        until = usage_of(state.source).pause_until
        return None if until is None else f"{until:%Y-%m-%d %H:%M:%S} UTC ({state.refusals} in a row)"


@admin.register(NewsItem)
class NewsItemAdmin(OfStocks):
    key = ("published_at", "id")
    moment = "published_at"
    nothing_yet = "Headlines are stored by the first sentiment analysis or news research of a stock."
    list_display = ("published_at", "stock", "title", "publisher", "sentiment")


@admin.register(Analysis)
class AnalysisAdmin(OfStocks):
    is_in_order = False
    nothing_yet = "Analyses are created by logins, by “Analyse now” on stocks, and by “analyse_stock”."
    list_display = ("created_at", "stock", "kind", "recommendation", "confidence", "data_as_of", "bars", "version")
    list_filter = ("kind", "recommendation")


@admin.register(LlmDay)
class LlmDayAdmin(ReadOnly, ModelAdmin):
    list_display = ("day", "tokens", "questions", "cost")
