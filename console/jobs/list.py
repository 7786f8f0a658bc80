"""The admin's list of jobs: its columns, filters, search, and the indexes of its rows."""

from collections.abc import Iterator, Sequence

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from console.jobs import search as job_search
from console.jobs.filters import PriorityFilter, ReasonFilter
from console.kit.display import badge, format_duration, moment_column
from console.kit.keyset import KeysetList, Lookups, Path, bounds_of, values_of
from stockqueue.wording import name_some
from tasks.describe import describe_result, run_time_of, wait_of
from tasks.models import Job
from tasks.priority import level_of

NAMES_SHOWN = 3
"""Requesters named in a row; a job's page names all."""

_LEVEL_COLOURS = {"high": "primary", "normal": "info", "low": ""}
_STATUS_COLOURS: dict[str, str] = {
    Job.Status.RUNNING: "info",
    Job.Status.COMPLETED: "success",
    Job.Status.FAILED: "danger",
    Job.Status.EXPIRED: "warning",
    Job.Status.CANCELLED: "warning",
}
_UNSUCCESSFUL = Q(status__in=Job.UNSUCCESSFUL)


class JobList(KeysetList):
    """The list of jobs, the newest first."""

    key = ("created_at", "id")
    nothing_yet = (
        "Jobs are created by logins of users with stale stocks, by “Fetch now” on stocks and portfolios, "
        "and by schedules."
    )
    list_display = (
        "subject",
        "job_type",
        "requested_by",
        "trigger",
        "level",
        "state",
        "waited",
        "ran",
        "came_of_it",
        "error_shown",
        "created",
    )
    list_filter = ("status", "queue", PriorityFilter, "trigger", "outcome", "job_type", ReasonFilter)
    search_fields = ("symbol", "requests__user__username", "id")
    search_help_text = job_search.HELP
    created = moment_column("created_at", "Created")

    class Media:
        css = {"all": ["tasks/job_list.css"]}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Job]:
        return super().get_queryset(request).prefetch_related(Job.REQUESTERS)

    def search(self, text: str) -> Sequence[Path]:
        return job_search.paths_to_jobs(text)

    def paths(self, lookups: Lookups) -> Iterator[Path]:
        """Paths by end, for unsuccessful jobs, for active jobs, by id and by symbol."""
        statuses, end = values_of(lookups, "status"), bounds_of(lookups, "finished_at")
        if statuses and statuses <= set(Job.UNSUCCESSFUL):
            if end:
                yield Path(Job.objects.unsuccessful().filter(end).order_by("-finished_at"), _UNSUCCESSFUL)
            yield Path(Job.objects.unsuccessful(), _UNSUCCESSFUL, is_in_order=True, is_scattered=True)
        elif _asks_for_active(lookups, statuses):
            active = Job.objects.active().order_by("queue", "status", "priority", "created_at")
            yield Path(active, Q(finished_at=None))
        elif end:
            yield Path(Job.objects.filter(end).order_by("-finished_at"), Q())
        for name in ("id", "symbol"):
            if values := values_of(lookups, name):
                yield Path(Job.objects.filter(**{f"{name}__in": values}), Q())

    @admin.display(description="Symbol")
    def subject(self, job: Job) -> str:
        return job.subject

    @admin.display(description="Requested by")
    def requested_by(self, job: Job) -> str:
        return name_some(job.requesters(), NAMES_SHOWN)

    @admin.display(description="Priority")
    def level(self, job: Job) -> SafeString:
        level = level_of(job.priority)
        return badge(f"{level} {job.priority}", _LEVEL_COLOURS[level])

    @admin.display(description="Status")
    def state(self, job: Job) -> SafeString:
        return badge(job.status, _STATUS_COLOURS.get(job.status, ""))

    @admin.display(description="Wait")
    def waited(self, job: Job) -> str | None:
        return format_duration(wait_of(job, timezone.now()))

    @admin.display(description="Run time")
    def ran(self, job: Job) -> str | None:
        return format_duration(run_time_of(job, timezone.now()))

    @admin.display(description="Outcome")
    def came_of_it(self, job: Job) -> str:
        if not job.outcome:
            return ""
        what = describe_result(job.job_type, job.result or {})
        return format_html('<span class="job-text">{}{}</span>', job.outcome, f": {what}" if what else "")

    @admin.display(description="Error")
    def error_shown(self, job: Job) -> str:
        if not job.error:
            return ""
        return format_html('<span class="job-text" title="{}">{}</span>', job.error, _shorten(job.error))


def _asks_for_active(lookups: Lookups, statuses: set[str] | None) -> bool:
    is_empty = lookups.get("finished_at__isnull", [""])[-1].lower() not in ("", "false", "0")  # as Django reads it
    return is_empty or bool(statuses and statuses <= set(Job.ACTIVE))


def _shorten(text: str) -> str:
    first = text.splitlines()[0]
    return first if len(first) <= 60 else first[:59] + "…"
