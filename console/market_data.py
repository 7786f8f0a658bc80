"""Bars, news, analyses, data sources and LLM usage in the admin."""

from typing import Any

from django.contrib import admin
from django.db.models import Q
from unfold.admin import ModelAdmin

from console.kit.keyset import KeysetList, Path
from console.kit.read_only import ReadOnly
from market.models import Analysis, LlmDay, NewsItem, PriceBar, SourceState, Stock
from market.sources.budget import usage_of
from market.symbols import InvalidSymbol, parse_symbol


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
    """Bars by stock, the last added stock first; within a stock, the newest day first."""

    key = ("stock_id", "date")
    nothing_yet = "Bars are stored by the first fetch of a stock."
    list_display = ("stock", "date", "open", "high", "low", "close", "adj_close", "volume")

    def describe_place(self, first_value: Any) -> str:
        return str(Stock.objects.get(pk=first_value))


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
