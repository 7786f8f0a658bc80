"""Filters of the admin's lists by values outside their columns."""

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from operations.monitoring import last_hour
from tasks.celery_worker import registry
from tasks.models import Job, JobQuerySet, JobRequest, Worker
from tasks.priority import BANDS, level_of

if TYPE_CHECKING:
    from tasks.celery_worker.registry import KnownWorker


class ReasonFilter(admin.SimpleListFilter):
    """Jobs with the same error, for any symbol. The list shows no choices; only links use this filter."""

    title = "reason"
    parameter_name = "reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        reason = self.value()
        return [] if reason is None else [(reason, reason or "none")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> QuerySet[Job]:
        reason = self.value()
        assert isinstance(queryset, JobQuerySet)  # noqa: S101  (it is of the jobs' own manager)
        return queryset if reason is None else queryset.with_reason().filter(reason=reason)


class LoginFilter(admin.SimpleListFilter):
    """The last hour's logins with requests, by result. A row is the request that decided the login's result."""

    title = "logins of the last hour"
    parameter_name = "login"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        results = (last_hour.FRESH, last_hour.INCOMPLETE, last_hour.WAITING)
        return [(result, result) for result in results]

    def queryset(self, request: HttpRequest, queryset: QuerySet[JobRequest]) -> QuerySet[JobRequest]:
        if self.value() is None:
            return queryset
        return queryset.filter(pk__in=last_hour.deciding_requests(timezone.now()).get(str(self.value()), []))


class PriorityFilter(admin.SimpleListFilter):
    """Jobs of one priority. Django's own filter would read all jobs to find the existing priorities."""

    title = "priority"
    parameter_name = "priority__exact"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(one), f"{level_of(one)} {one}") for band in BANDS.values() for one in band]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> QuerySet[Job]:
        priority = self.value()
        if priority is None:
            return queryset
        if not priority.isdecimal():
            raise IncorrectLookupParameters
        return queryset.filter(priority=priority)


_MISSING = "missing"


class StateFilter(admin.SimpleListFilter):
    """Workers by the state in `tasks.celery_worker.registry`, and gone workers without a replacement."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [*((state.value, state.value) for state in Worker.State), (_MISSING, "gone and not replaced")]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[KnownWorker]") -> "QuerySet[KnownWorker]":
        state = self.value()
        if state == _MISSING:
            return queryset.filter(pk__in=[worker.pk for worker in registry.missing(registry.workers())])
        return queryset if state is None else queryset.filter(state=state)
