import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils.html import format_html
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminSelectWidget

from market.admin import ReadOnly
from market.keyset import KeysetList, Lookups, Path, values_of
from market.models import Stock
from tasks import control, job_search, presence
from tasks.columns import format_moment, moment_column
from tasks.filters import StateFilter
from tasks.job_list import JobList
from tasks.models import Job, JobEvent, JobRequest, Worker
from tasks.priority import BANDS, explain
from tasks.requests import Requested
from tasks.stock_admin import AT_ONCE, StockAdmin
from tasks.wording import describe_event


class JobRequestInline(ReadOnly, TabularInline):
    model = JobRequest
    verbose_name_plural = "requested by"
    fields = ("who", "trigger", "at")
    readonly_fields = ("who", "at")
    extra = 0
    hide_title = True
    at = moment_column("created_at", "At")

    def get_queryset(self, request: HttpRequest) -> QuerySet[JobRequest]:
        return super().get_queryset(request).select_related("user")

    @admin.display(description="Who")
    def who(self, wish: JobRequest) -> str:
        return str(wish.user or "system")


class JobEventInline(ReadOnly, TabularInline):
    model = JobEvent
    verbose_name_plural = "timeline"
    fields = ("seq", "event", "at", "details", "published")
    readonly_fields = ("at", "details", "published")
    ordering = ("seq",)
    extra = 0
    hide_title = True
    at = moment_column("created_at", "At")

    @admin.display(description="Details")
    def details(self, event: JobEvent) -> str:
        return describe_event(event)

    @admin.display(description="Published on MQTT")
    def published(self, event: JobEvent) -> str:
        if event.error:
            return f"set aside: {event.error}"
        return "not yet" if event.published_at is None else format_moment(event.published_at)


admin.site.register(Stock, StockAdmin)


class PriorityForm(forms.Form):
    priority = forms.TypedChoiceField(
        coerce=int,
        choices=[(one, f"{one} ({queue})") for queue, band in BANDS.items() for one in band],
        widget=UnfoldAdminSelectWidget,
        help_text="1 is the most urgent. The queue goes with it.",
    )


@admin.register(Job)
class JobAdmin(ReadOnly, JobList):
    """Jobs are written by the program; people cancel them, run them again and change their priority."""

    actions = ("cancel_jobs", "run_jobs_again", "reprioritise_jobs")
    actions_detail = ("run_again", "cancel", "reprioritise")
    inlines = (JobRequestInline, JobEventInline)
    fieldsets = (
        (None, {"fields": ("subject", "id", "job_type", "subtype", "trigger", "state", "outcome", "error")}),
        ("Priority", {"fields": ("priority", "queue", "why_this_priority")}),
        (
            "Times",
            {"fields": ("created", "queued", "waited", "started", "ran", "finished", "not_before", "refused")},
        ),
        ("Attempts", {"fields": ("attempt", "retries", "worker_id", "heartbeat")}),
        ("Data", {"fields": ("shown_parameters", "shown_result")}),
    )
    readonly_fields = (
        *("subject", "state", "why_this_priority", "waited", "ran", "shown_parameters", "shown_result"),
        *("created", "queued", "started", "finished", "not_before", "refused", "heartbeat"),
    )
    queued = moment_column("queued_at", "Queued")
    started = moment_column("started_at", "Started")
    finished = moment_column("finished_at", "Finished")
    not_before = moment_column("run_at", "Not before")
    refused = moment_column("refused_at", "Not taken by the broker since")
    heartbeat = moment_column("heartbeat_at", "Heartbeat")

    @admin.display(description="Why this priority")
    def why_this_priority(self, job: Job) -> str:
        return explain(job.priority_reason)

    @admin.display(description="Parameters")
    def shown_parameters(self, job: Job) -> str:
        return _format_json(job.parameters)

    @admin.display(description="Result")
    def shown_result(self, job: Job) -> str:
        return _format_json(job.result) if job.result else ""

    def has_cancel_permission(self, request: HttpRequest, _job_id: object = None) -> bool:
        return bool(request.user.has_perm("tasks.cancel_job"))

    def has_retry_permission(self, request: HttpRequest, _job_id: object = None) -> bool:
        return bool(request.user.has_perm("tasks.retry_job"))

    def has_reprioritise_permission(self, request: HttpRequest, _job_id: object = None) -> bool:
        return bool(request.user.has_perm("tasks.reprioritise_job"))

    @admin.action(description="Cancel", permissions=["cancel"])
    def cancel_jobs(self, request: HttpRequest, jobs: QuerySet[Job]) -> None:
        if chosen := self._chosen(request, jobs):
            self._cancel(request, chosen)

    @admin.action(description="Run again", permissions=["retry"])
    def run_jobs_again(self, request: HttpRequest, jobs: QuerySet[Job]) -> None:
        if chosen := self._chosen(request, jobs):
            self._run_again(request, chosen)

    @admin.action(description="Change the priority", permissions=["reprioritise"])
    def reprioritise_jobs(self, request: HttpRequest, jobs: QuerySet[Job]) -> HttpResponse | None:
        chosen = self._chosen(request, jobs)
        form = PriorityForm(request.POST if "confirmed" in request.POST else None)
        if not chosen or (form.is_valid() and self._reprioritise(request, chosen, form)):
            return None
        return self._confirm(request, "Change the priority", chosen, form=form, action_name="reprioritise_jobs")

    # A link leads to each of these: a GET asks, and only a POST acts.

    @action(description="Run again", url_path="run-again", icon="replay", permissions=["retry"])
    def run_again(self, request: HttpRequest, object_id: str) -> HttpResponse:
        job = self._job(request, object_id)
        if request.method != "POST":
            return self._confirm(request, "Run the job again", [job])
        came = self._run_again(request, [job])
        return redirect("admin:tasks_job_change", came.jobs[0].pk if came else job.pk)

    @action(description="Cancel", url_path="cancel", icon="cancel", permissions=["cancel"])
    def cancel(self, request: HttpRequest, object_id: str) -> HttpResponse:
        job = self._job(request, object_id)
        if request.method != "POST":
            return self._confirm(request, "Cancel the job", [job])
        self._cancel(request, [job])
        return redirect("admin:tasks_job_change", job.pk)

    @action(description="Change the priority", url_path="priority", icon="swap_vert", permissions=["reprioritise"])
    def reprioritise(self, request: HttpRequest, object_id: str) -> HttpResponse:
        job = self._job(request, object_id)
        form = PriorityForm(request.POST or None, initial={"priority": job.priority})
        if form.is_valid() and self._reprioritise(request, [job], form):
            return redirect("admin:tasks_job_change", job.pk)
        return self._confirm(request, "Change the priority", [job], form=form)

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        """The buttons of a job's page: those that its status allows."""
        job = self.get_object(request, str(object_id))
        allowed = set()
        if job is not None:
            allowed |= {"run_again"} if job.status in control.ENDED else {"cancel"}
            allowed |= {"reprioritise"} if job.status in Job.WAITING else set()
        offered = super().get_actions_detail(request, object_id)
        return [one for one in offered if one.method.original_function_name in allowed]

    def _job(self, request: HttpRequest, object_id: str) -> Job:
        job: Job | None = self.get_object(request, object_id)
        if job is None or not self.has_view_permission(request, job):
            raise Http404
        return job

    def _chosen(self, request: HttpRequest, jobs: QuerySet[Job]) -> list[Job]:
        chosen = list(jobs[: AT_ONCE + 1])
        if len(chosen) > AT_ONCE:
            self.message_user(request, f"More than {AT_ONCE} jobs are chosen; choose fewer.", messages.ERROR)
            return []
        return chosen

    def _cancel(self, request: HttpRequest, jobs: Collection[Job]) -> None:
        with transaction.atomic():
            cancelled = control.cancel([job.pk for job in jobs], request.user.get_username())
            self._log(request, cancelled, "Cancelled.")
        self._tell(request, "Cancelled", cancelled, jobs, "only a job that has not ended can be cancelled")

    def _run_again(self, request: HttpRequest, jobs: Collection[Job]) -> Requested | None:
        assert isinstance(request.user, User)  # noqa: S101  (the admin lets nobody else in)
        try:
            with transaction.atomic():  # all or none
                came = control.run_again(jobs, request.user)
                self._log(request, jobs, "Run again.")
        except control.NotPossible as reason:
            self.message_user(request, f"Nothing runs again: {reason}.", messages.ERROR)
            return None
        self.message_user(request, f"Run again: {came}.", messages.SUCCESS)
        return came

    def _reprioritise(self, request: HttpRequest, jobs: Collection[Job], form: PriorityForm) -> bool:
        """Whether that was possible; the form says why it was not."""
        priority = form.cleaned_data["priority"]
        try:
            with transaction.atomic():
                changed = control.reprioritise([job.pk for job in jobs], priority, request.user.get_username())
                self._log(request, changed, f"Priority changed to {priority}.")
        except control.NotPossible as reason:
            form.add_error("priority", f"{reason}.")
            return False
        hint = "only a job that waits, with another priority, can be given this one"
        self._tell(request, f"Priority {priority}", changed, jobs, hint)
        return True

    def _log(self, request: HttpRequest, jobs: Iterable[Job], message: str) -> None:
        LogEntry.objects.log_actions(request.user.pk, list(jobs), CHANGE, message)  # type: ignore[arg-type]

    def _tell(self, request: HttpRequest, what: str, done: Collection[Job], asked: Collection[Job], hint: str) -> None:
        """Say which of the jobs were changed, and how the others are that were not."""
        if done:
            self.message_user(request, f"{what}: {_name(job.subject for job in done)}.", messages.SUCCESS)
        changed: set[UUID] = {job.pk for job in done}
        others = Job.objects.filter(pk__in={job.pk for job in asked} - changed)
        if others:
            found = _name(f"{job.subject} is {job.status}" for job in others)
            self.message_user(request, f"Not changed: {found}; {hint}.", messages.WARNING if done else messages.ERROR)

    def _confirm(
        self,
        request: HttpRequest,
        title: str,
        jobs: Collection[Job],
        *,
        form: PriorityForm | None = None,
        action_name: str = "",
    ) -> HttpResponse:
        """The page that asks first. With `action_name`, its form repeats that action of the list."""
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "jobs": jobs,
            "form": form,
            "action_name": action_name,
            "action_checkbox_name": ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, "admin/tasks/job/confirm.html", context)


def _name(parts: Iterable[str]) -> str:
    names = list(parts)
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more


def _format_json(value: object) -> str:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return format_html('<pre style="white-space: pre-wrap; overflow-wrap: anywhere">{}</pre>', text)


@admin.register(JobRequest)
class JobRequestAdmin(ReadOnly, KeysetList):
    """Who asked for which job: by a login, say, which may have joined a job that others made."""

    nothing_yet = "Somebody who logs in, presses “Fetch now” or has a schedule asks for jobs."
    list_display = ("job", "user", "trigger", "created", "status", "ended")
    list_filter: tuple[Any, ...] = ("trigger", "job__status")
    list_select_related = ("job", "user")
    search_fields = ("user__username", "job__symbol", "job__id")
    search_help_text = job_search.HELP
    created = moment_column("created_at", "At")

    def search(self, text: str) -> Sequence[Path]:
        return job_search.paths_to_requests(text)

    def paths(self, lookups: Lookups) -> Iterator[Path]:
        since = lookups.get("created_at__gte", ())
        if values_of(lookups, "trigger") == {Job.Trigger.USER_LOGIN} and len(since) == 1:
            logins = Q(trigger=Job.Trigger.USER_LOGIN)
            yield Path(JobRequest.objects.filter(logins, created_at__gte=since[0]).order_by("created_at"), logins)

    @admin.display(description="Status of the job")
    def status(self, wish: JobRequest) -> str:
        return wish.job.status

    @admin.display(description="Ended")
    def ended(self, wish: JobRequest) -> str | None:
        return None if wish.job.finished_at is None else format_moment(wish.job.finished_at)


@admin.register(JobEvent)
class JobEventAdmin(ReadOnly, KeysetList):
    """What happened to jobs, and what the MQTT broker has of it."""

    list_display = ("id", "job", "seq", "event", "created_at", "published_at", "error")
    list_filter = (
        "event",
        ("published_at", admin.EmptyFieldListFilter),
        ("error", admin.EmptyFieldListFilter),
    )
    list_select_related = ("job",)
    search_fields = ("job__symbol", "job__requests__user__username", "job__id")
    search_help_text = job_search.HELP
    nothing_yet = "Each step of a job is one."

    def search(self, text: str) -> Sequence[Path]:
        return job_search.paths_to_events(text)

    def paths(self, lookups: Lookups) -> Iterator[Path]:
        if "1" in lookups.get("published_at__isempty", ()) and "1" in lookups.get("error__isempty", ()):
            waiting = Q(published_at__isnull=True, error="")
            yield Path(JobEvent.objects.filter(waiting), waiting, is_in_order=True)


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
        return presence.workers().order_by("-started_at")

    @admin.display(description="Queues")
    def taken(self, worker: Worker) -> str:
        return ", ".join(worker.queues)

    @display(
        description="State",
        ordering="state",
        label={Worker.State.ALIVE: "success", Worker.State.STOPPED: "info", Worker.State.GONE: "danger"},
    )
    def shown_state(self, worker: "presence.KnownWorker") -> str:
        return worker.state

    @admin.display(description="Job types")
    def shown_job_types(self, worker: Worker) -> str:
        return ", ".join(worker.job_types) or "those of its queues"

    @admin.display(description="Capabilities")
    def shown_capabilities(self, worker: Worker) -> str:
        return ", ".join(worker.capabilities)
