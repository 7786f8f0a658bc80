"""Job groups in the admin: a list, and a page for each group with its progress."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.db.models import Count, IntegerField, Model, OuterRef, Q, QuerySet, Subquery
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.decorators import method_decorator
from django.utils.text import capfirst
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from django_htmx.http import HttpResponseClientRefresh
from unfold.admin import ModelAdmin

from console.jobs.progress import progress_of
from console.kit.live_page import REFRESH_SECONDS
from console.kit.read_only import ReadOnly
from stockqueue.signed_in import signed_in
from tasks.enqueue import EnqueueResult
from tasks.groups import group_jobs
from tasks.models import Job, JobGroup


def may_request_jobs(user: Any) -> bool:
    """Whether the user may enqueue jobs from the admin: the permission to add a job."""
    return bool(user.has_perm("tasks.add_job"))


def follow(request: HttpRequest, what: str, requested: EnqueueResult, about: Sequence[Model]) -> HttpResponse | None:
    """Group and log the requested jobs, show a message, and redirect to their progress.

    `about` are the objects whose histories get an entry too. None if there is nothing to fetch. Call it in the
    transaction of the request.
    """
    user = signed_in(request)
    if not requested.jobs:
        messages.warning(request, f"{what}: {requested}.")
        return None
    group = group_jobs(what, requested, user)
    LogEntry.objects.log_actions(user.pk, [group], ADDITION, f"{what}.")
    LogEntry.objects.log_actions(user.pk, about, CHANGE, f"{what}.")
    messages.success(request, f"{capfirst(str(requested))}.")
    return redirect("admin:tasks_jobgroup_change", group.pk)


@admin.register(JobGroup)
class JobGroupAdmin(ReadOnly, ModelAdmin):
    """A user with the permission to view jobs sees all groups, any other user only their own groups."""

    list_display = ("what", "user", "created_at", "progress")
    list_select_related = ("user",)
    list_per_page = 25  # the jobs of each are counted
    search_fields = ("what", "user__username", "jobs__symbol")
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[JobGroup]:
        groups: QuerySet[JobGroup] = super().get_queryset(request)
        if not _may_see_jobs(request):
            groups = groups.filter(user=request.user.pk)
        return groups.annotate(
            all_jobs=_count_jobs(Count("jobs")),
            ended_jobs=_count_jobs(Count("jobs", filter=Q(jobs__finished_at__isnull=False))),
        )

    @admin.display(description="Ended jobs")
    def progress(self, group: Any) -> str:
        return f"{group.ended_jobs} of {group.all_jobs}"

    def has_view_permission(self, request: HttpRequest, group: JobGroup | None = None) -> bool:
        if group is not None and group.user_id == request.user.pk:
            return True
        return _may_see_jobs(request) or (group is None and may_request_jobs(request.user))

    def get_urls(self) -> list[URLPattern]:
        figures = never_cache(require_safe(self.figures))
        return [path("<int:group_id>/figures/", figures, name="tasks_jobgroup_figures"), *super().get_urls()]

    @method_decorator(require_safe)
    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The progress page of the group, in place of a form."""
        group = self._group(request, object_id)
        context = {
            **self.admin_site.each_context(request),
            **self._shown(request, group),
            "title": group.what,
            "opts": self.opts,
            "every": REFRESH_SECONDS,
        }
        return TemplateResponse(request, "admin/tasks/jobgroup/progress.html", context)

    def figures(self, request: HttpRequest, group_id: int) -> HttpResponse:
        """The page's changing part. After the end of the session, the whole page reloads and shows the login."""
        if not self.admin_site.has_permission(request):
            return HttpResponseClientRefresh()
        context = self._shown(request, self._group(request, str(group_id)))
        return render(request, "admin/tasks/jobgroup/figures.html", context)

    def _group(self, request: HttpRequest, group_id: str) -> JobGroup:
        group: JobGroup | None = self.get_object(request, group_id)
        if group is None:  # or another user's group
            raise Http404
        return group

    def _shown(self, request: HttpRequest, group: JobGroup) -> dict[str, Any]:
        return {"group": group, "progress": progress_of(group), "may_see_jobs": _may_see_jobs(request)}


def _may_see_jobs(request: HttpRequest) -> bool:
    return bool(admin.site.get_model_admin(Job).has_view_permission(request))


def _count_jobs(count: Count) -> Subquery:
    """A count as a subquery, so only the rows of the current page are counted."""
    jobs = JobGroup.objects.filter(pk=OuterRef("pk")).order_by().values("pk").annotate(jobs_counted=count)
    return Subquery(jobs.values("jobs_counted"), output_field=IntegerField())
