"""The filter of stocks by who holds them. Figures of the page "Stock data" lead to it."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from market.freshness import Freshness
from market.models import Stock
from operations.monitoring.holdings_freshness import held_stocks


class HeldFilter(admin.SimpleListFilter):
    """The stocks that somebody holds, by how fresh they are."""

    title = "held stocks"
    parameter_name = "held"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("any", "all held stocks"),
            ("fresh", "fresh"),
            ("stale", "stale"),
            ("never", "never checked"),
            ("parked", "parked"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Stock]) -> QuerySet[Stock]:
        if self.value() is None:
            return queryset
        held = held_stocks(Freshness.of_all(timezone.now()))
        return queryset.filter(
            pk__in=(held if self.value() == "any" else held.filter(state=self.value())).values("pk")
        )
