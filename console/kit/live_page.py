"""Admin pages of one row, refreshed while the row changes."""

from typing import Any

from django.contrib.admin.utils import unquote
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import URLPattern, path
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from django_htmx.http import HttpResponseClientRefresh
from unfold.admin import ModelAdmin

REFRESH_SECONDS = 2
"""Seconds between two refreshes of an open page."""


class LivePage(ModelAdmin):
    """A row's page, in place of a form. The page refreshes its `part_template` until the row is over.

    Then the whole page loads once more, with the buttons of its final state.
    """

    change_form_template = "admin/tasks/live_page.html"
    part_template: str
    fields = ()

    def is_over(self, row: Any) -> bool:
        """Whether the row will not change any more."""
        raise NotImplementedError

    def describe(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """The context of `part_template`."""
        raise NotImplementedError

    def get_urls(self) -> list[URLPattern]:
        part = never_cache(require_safe(self.part))
        return [path("<path:object_id>/part/", part, name=self._part_name()), *super().get_urls()]

    @method_decorator(require_safe)
    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        shown: dict[str, Any] = {}
        row = self._row(request, object_id)
        if row is not None:
            shown = {
                **self.describe(request, row),
                "is_over": self.is_over(row),
                "part_template": self.part_template,
                "part_view": f"admin:{self._part_name()}",
                "every": REFRESH_SECONDS,
                "title": str(row),
                "subtitle": None,
            }
        # Django answers a user without permission, or a missing row.
        return super().change_view(request, object_id, form_url, {**shown, **(extra_context or {})})

    def part(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The page's changing part. For the login or the final state, the whole page reloads instead."""
        row = self._row(request, object_id) if self.admin_site.has_permission(request) else None
        if row is None or self.is_over(row):
            return HttpResponseClientRefresh()
        return render(request, self.part_template, self.describe(request, row))

    def _row(self, request: HttpRequest, object_id: str) -> Model | None:
        row: Model | None = self.get_object(request, unquote(object_id))
        return row if row is not None and self.has_view_permission(request, row) else None

    def _part_name(self) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_part"
