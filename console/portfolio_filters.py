"""Filters of the admin's portfolio lists by values outside their columns."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from market.freshness import Freshness
from market.models import Stock
from portfolio.models import PortfolioPriority
from portfolio.tracking import WORDS


class DataFilter(admin.SimpleListFilter):
    """Filter tracked stocks by freshness."""

    title = "data"
    parameter_name = "data"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(WORDS.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[PortfolioPriority]) -> QuerySet[PortfolioPriority]:
        if self.value() is None:
            return queryset
        stocks = Stock.objects.annotate(state=Freshness.of_all(timezone.now()).state_in_sql())
        return queryset.filter(stock__in=stocks.filter(state=self.value()).values("pk"))
