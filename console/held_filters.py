"""Filters of the admin's lists that figures of the page lead to."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from market.freshness import Freshness
from market.models import Stock
from operations.monitoring import last_hour
from operations.monitoring.holdings_freshness import held_stocks
from tasks.models import JobRequest


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


class LoginFilter(admin.SimpleListFilter):
    """The logins of the last hour that asked for something, by what came of them: of each the request that decided."""

    title = "logins of the last hour"
    parameter_name = "login"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        results = (last_hour.FRESH, last_hour.INCOMPLETE, last_hour.WAITING)
        return [(result, result) for result in results]

    def queryset(self, request: HttpRequest, queryset: QuerySet[JobRequest]) -> QuerySet[JobRequest]:
        if self.value() is None:
            return queryset
        return queryset.filter(pk__in=last_hour.deciding_requests(timezone.now()).get(str(self.value()), []))
