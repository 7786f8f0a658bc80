"""The filter of held stocks by freshness. Figures of the page "Stock data" link to this filter."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from market.freshness import Freshness
from market.models import Stock
from operations.monitoring.holdings_freshness import held_stocks
from portfolio.schedules.warming import kept_stocks


class HeldFilter(admin.SimpleListFilter):
    """Filter the stocks of all portfolios by freshness, or the stocks that the schedule "Warm" fetches."""

    title = "held stocks"
    parameter_name = "held"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("any", "all held stocks"),
            ("fresh", "fresh"),
            ("stale", "stale"),
            ("never", "never checked"),
            ("parked", "parked"),
            ("warm", "to be kept warm"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Stock]) -> QuerySet[Stock]:
        if self.value() is None:
            return queryset
        if self.value() == "warm":
            return queryset.filter(pk__in=kept_stocks().values("pk"))
        held = held_stocks(Freshness.of_all(timezone.now()))
        return queryset.filter(
            pk__in=(held if self.value() == "any" else held.filter(state=self.value())).values("pk")
        )
