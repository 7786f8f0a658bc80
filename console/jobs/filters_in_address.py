"""The jobs of the admin's list under an address's filters and search: all pages, without a request."""

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import SEARCH_VAR
from django.contrib.auth.models import User
from django.core.exceptions import SuspiciousOperation
from django.db.models import QuerySet
from django.http import HttpRequest, QueryDict

from console.kit.keyset import describe_lookup
from tasks.bulk.selection import BrokenFilters
from tasks.models import Job


def matching_jobs(filters: str, user: User) -> QuerySet[Job]:
    """All jobs that `user` sees under `filters`, the query string of the list. Raises BrokenFilters."""
    request = HttpRequest()
    request.method = "GET"
    request.GET = QueryDict(filters)
    request.user = user
    try:
        changelist = admin.site.get_model_admin(Job).get_changelist_instance(request)
    except (IncorrectLookupParameters, SuspiciousOperation) as error:
        raise BrokenFilters(f"invalid filters of the job list: {filters!r}: {error}") from error
    jobs: QuerySet[Job] = changelist.queryset
    return jobs


def filters_of(changelist: Any) -> str:
    """The filters and the search of a shown list as a query string, in canonical order."""
    given = QueryDict(changelist.get_query_string().removeprefix("?"))
    return urlencode(sorted((name, value) for name, values in given.lists() for value in values))


def describe_filters(filters: str) -> list[str]:
    """Describe the filters in words, such as `status is failed` and `search: AAPL`."""
    return [_describe(name, values) for name, values in QueryDict(filters).lists()]


def _describe(name: str, values: list[Any]) -> str:
    return f"search: {', '.join(values)}" if name == SEARCH_VAR else describe_lookup(name, values)
