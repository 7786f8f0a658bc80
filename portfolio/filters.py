"""Filters of the admin's lists by what is not a column."""

from typing import Any

from django.contrib import admin
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from market.freshness import states_at
from market.models import Stock
from portfolio.models import PortfolioPriority
from portfolio.tracking import WORDS


class DataFilter(admin.SimpleListFilter):
    """Tracked stocks by how fresh their data is."""

    title = "data"
    parameter_name = "data"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(WORDS.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[PortfolioPriority]) -> QuerySet[PortfolioPriority]:
        if self.value() is None:
            return queryset
        tracked = Stock.objects.filter(Exists(PortfolioPriority.objects.filter(stock=OuterRef("pk"))))
        states = states_at(tracked.only("exchange", "status", "checked_at", "source"), timezone.now())
        return queryset.filter(stock__in=[stock.pk for stock, state in states if state == self.value()])
