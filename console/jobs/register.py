"""The admin's lists of jobs, their requests and events, workers and schedules that ran."""

from collections.abc import Iterator, Sequence

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.admin import ModelAdmin
from unfold.decorators import display

from console.jobs import search as job_search
from console.jobs.actions import JobActions
from console.jobs.filters import LoginFilter, StateFilter
from console.jobs.list import JobList
from console.jobs.page import JobPage
from console.kit.display import moment_column
from console.kit.keyset import KeysetList, Lookups, Path, bounds_of, values_of
from console.kit.read_only import ReadOnly
from operations.monitoring.last_hour import HOUR
from stockqueue.wording import describe_moment
from tasks.celery_worker import registry
from tasks.models import UNPUBLISHED, Job, JobEvent, JobRequest, ScheduleRun, Worker


@admin.register(Job)
class JobAdmin(ReadOnly, JobActions, JobPage, JobList):
    """Jobs in the admin: not editable, with actions."""


@admin.register(JobRequest)
class JobRequestAdmin(ReadOnly, KeysetList):
    """Requests for jobs. A request, such as a login, may have joined an existing job."""

    nothing_yet = "Jobs are requested by logins, by “Fetch now”, and by schedules."
    list_display = ("job", "user", "trigger", "created", "status", "ended")
    list_filter = ("trigger", "job__status", LoginFilter)
    list_select_related = ("job", "user")
    search_fields = ("user__username", "job__symbol", "job__id")
    search_help_text = job_search.HELP
    created = moment_column("created_at", "At")

    def search(self, text: str) -> Sequence[Path]:
        return job_search.paths_to_requests(text)

    def paths(self, lookups: Lookups) -> Iterator[Path]:
        if LoginFilter.parameter_name in lookups:
            logins = JobRequest.objects.filter(trigger=Job.Trigger.USER_LOGIN, created_at__gte=timezone.now() - HOUR)
            yield Path(logins.order_by("created_at"), Q())
        moment = bounds_of(lookups, "created_at")
        if moment and values_of(lookups, "trigger") == {Job.Trigger.USER_LOGIN}:
            is_login = Q(trigger=Job.Trigger.USER_LOGIN)
            yield Path(JobRequest.objects.filter(is_login, moment).order_by("created_at"), is_login)

    @admin.display(description="Job status")
    def status(self, wish: JobRequest) -> str:
        return wish.job.status

    @admin.display(description="Ended")
    def ended(self, wish: JobRequest) -> str | None:
        return None if wish.job.finished_at is None else describe_moment(wish.job.finished_at)


@admin.register(JobEvent)
class JobEventAdmin(ReadOnly, KeysetList):
    """Events of jobs, with the state of their publication on MQTT."""

    list_display = ("id", "job", "seq", "event", "created_at", "published_at", "error")
    list_filter = (
        "event",
        ("published_at", admin.EmptyFieldListFilter),
        ("error", admin.EmptyFieldListFilter),
    )
    list_select_related = ("job",)
    search_fields = ("job__symbol", "job__requests__user__username", "job__id")
    search_help_text = job_search.HELP
    nothing_yet = "Each step of a job is an event."

    def search(self, text: str) -> Sequence[Path]:
        return job_search.paths_to_events(text)

    def paths(self, lookups: Lookups) -> Iterator[Path]:
        if "1" in lookups.get("published_at__isempty", ()) and "1" in lookups.get("error__isempty", ()):
            yield Path(JobEvent.objects.filter(UNPUBLISHED), UNPUBLISHED, is_in_order=True)


@admin.register(Worker)
class WorkerAdmin(ReadOnly, ModelAdmin):
    list_display = ("worker_id", "name", "hostname", "taken", "concurrency", "shown_state", "since", "heartbeat")
    list_filter = (StateFilter,)
    search_fields = ("worker_id", "name", "hostname")
    fields = (*list_display, "pid", "stopped", "shown_job_types", "shown_capabilities")
    since = moment_column("started_at", "Since")
    heartbeat = moment_column("heartbeat_at", "Last heartbeat")
    stopped = moment_column("stopped_at", "Stopped")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Worker]:
        return registry.workers().order_by("-started_at")

    @admin.display(description="Queues")
    def taken(self, worker: Worker) -> str:
        return ", ".join(worker.queues)

    @display(
        description="State",
        ordering="state",
        label={Worker.State.ALIVE: "success", Worker.State.STOPPED: "info", Worker.State.GONE: "danger"},
    )
    def shown_state(self, worker: "registry.KnownWorker") -> str:
        return worker.state

    @admin.display(description="Job types")
    def shown_job_types(self, worker: Worker) -> str:
        return ", ".join(worker.job_types) or "all of its queues"

    @admin.display(description="Capabilities")
    def shown_capabilities(self, worker: Worker) -> str:
        return ", ".join(worker.capabilities)


@admin.register(ScheduleRun)
class ScheduleRunAdmin(ReadOnly, ModelAdmin):
    list_display = ("schedule", "slot", "ran_at")
    list_filter = ("schedule",)
    search_fields = ("schedule",)
