"""A person's actions on jobs in the admin: actions of the list and buttons of a job's page."""

from collections.abc import Collection, Iterable
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, LogEntry
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from unfold.admin import ModelAdmin
from unfold.decorators import action
from unfold.widgets import UnfoldAdminSelectWidget

from console.jobs.bulk import count, count_in_words, link_to
from console.jobs.filters_in_address import describe_filters, filters_of
from console.kit.selection import selected_rows
from stockqueue.signed_in import signed_in
from stockqueue.wording import name_some
from tasks import control
from tasks.bulk import runner
from tasks.enqueue import EnqueueResult
from tasks.models import BulkAction, Job
from tasks.priority import BANDS

NAMED = 10
"""Jobs that a message names."""


class PriorityForm(forms.Form):
    priority = forms.TypedChoiceField(
        coerce=int,
        choices=[(one, f"{one} ({queue})") for queue, band in BANDS.items() for one in band],
        widget=UnfoldAdminSelectWidget,
        help_text="1 is the most urgent. The priority determines the queue.",
    )


_HINTS = {
    BulkAction.Kind.RUN_AGAIN: (
        "Jobs for the same work are rerun once. Reruns come after the jobs of users and schedules. "
        "Jobs that have not ended are skipped."
    ),
    BulkAction.Kind.CANCEL: "Ended jobs are skipped.",
    BulkAction.Kind.REPRIORITISE: "Jobs that are not waiting, or cannot have this priority, are skipped.",
}


_HINT_TOO_MANY = "select fewer, or all matching jobs"


class JobActions(ModelAdmin):
    """Cancel, rerun and re-prioritise jobs. Each action has its own permission and is in the job's history."""

    actions = ("cancel_jobs", "run_jobs_again", "reprioritise_jobs")
    actions_detail = ("run_again", "cancel", "reprioritise")

    def has_cancel_permission(self, request: HttpRequest, _job_id: object = None) -> bool:
        return bool(request.user.has_perm("tasks.cancel_job"))

    def has_retry_permission(self, request: HttpRequest, _job_id: object = None) -> bool:
        return bool(request.user.has_perm("tasks.retry_job"))

    def has_reprioritise_permission(self, request: HttpRequest, _job_id: object = None) -> bool:
        return bool(request.user.has_perm("tasks.reprioritise_job"))

    @admin.action(description="Cancel", permissions=["cancel"])
    def cancel_jobs(self, request: HttpRequest, jobs: QuerySet[Job]) -> HttpResponse | None:
        if _is_about_all(request):
            return self._act_on_all(request, jobs, BulkAction.Kind.CANCEL)
        if chosen := selected_rows(request, jobs, _HINT_TOO_MANY):
            self._cancel(request, chosen)
        return None

    @admin.action(description="Rerun", permissions=["retry"])
    def run_jobs_again(self, request: HttpRequest, jobs: QuerySet[Job]) -> HttpResponse | None:
        if _is_about_all(request):
            return self._act_on_all(request, jobs, BulkAction.Kind.RUN_AGAIN)
        if chosen := selected_rows(request, jobs, _HINT_TOO_MANY):
            self._run_again(request, chosen)
        return None

    @admin.action(description="Change the priority", permissions=["reprioritise"])
    def reprioritise_jobs(self, request: HttpRequest, jobs: QuerySet[Job]) -> HttpResponse | None:
        form = PriorityForm(request.POST if "confirmed" in request.POST else None)
        if _is_about_all(request):
            return self._act_on_all(request, jobs, BulkAction.Kind.REPRIORITISE, form)
        chosen = selected_rows(request, jobs, _HINT_TOO_MANY)
        if not chosen or (form.is_valid() and self._reprioritise(request, chosen, form)):
            return None
        return self._confirm(request, "Change the priority", chosen, form=form, action_name="reprioritise_jobs")

    # The buttons are links: a GET shows a confirmation, and only a POST acts.

    @action(description="Rerun", url_path="run-again", icon="replay", permissions=["retry"])
    def run_again(self, request: HttpRequest, object_id: str) -> HttpResponse:
        job = self._job(request, object_id)
        if request.method != "POST":
            return self._confirm(request, "Rerun the job", [job])
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
        """The buttons of a job's page, as allowed by the job's status."""
        job = self.get_object(request, str(object_id))
        allowed = set()
        if job is not None:
            allowed |= {"run_again"} if job.status in Job.ENDED else {"cancel"}
            allowed |= {"reprioritise"} if job.status in Job.WAITING else set()
        offered = super().get_actions_detail(request, object_id)
        return [one for one in offered if one.method.original_function_name in allowed]

    def _act_on_all(
        self, request: HttpRequest, jobs: QuerySet[Job], kind: BulkAction.Kind, form: PriorityForm | None = None
    ) -> HttpResponse | None:
        """Confirm the number of matching jobs and the filters, then begin a bulk action in the background."""
        user = signed_in(request)
        matched = count(jobs)
        if not matched:
            self.message_user(request, "No jobs match any more.", messages.WARNING)
            return None
        filters = filters_of(self.get_changelist_instance(request))
        if "confirmed" not in request.POST or (form is not None and not form.is_valid()):
            about = {"count": count_in_words(matched), "filters": describe_filters(filters), "hint": _HINTS.get(kind)}
            return self._confirm(request, str(kind.label), [], form=form, action_name=request.POST["action"], **about)
        priority = None if form is None else form.cleaned_data["priority"]
        action, is_new = runner.begin(kind, filters, user, matched, priority)
        if is_new:
            link = link_to(action, "Follow its progress")
            said = format_html("{}: queued for {}. {}.", action, count_in_words(matched), link)
            self.message_user(request, said, messages.SUCCESS)
        else:
            link = link_to(action, "Follow its progress")
            said = format_html("{}: already running, requested by {}. {}.", action, action.user, link)
            self.message_user(request, said, messages.WARNING)
        return None

    def _job(self, request: HttpRequest, object_id: str) -> Job:
        job: Job | None = self.get_object(request, object_id)
        if job is None or not self.has_view_permission(request, job):
            raise Http404
        return job

    def _cancel(self, request: HttpRequest, jobs: Collection[Job]) -> None:
        with transaction.atomic():
            cancelled = control.cancel([job.pk for job in jobs], request.user.get_username())
            self._log(request, cancelled, "Cancelled.")
        self._tell(request, "Cancelled", cancelled, jobs, "only an active job can be cancelled")

    def _run_again(self, request: HttpRequest, jobs: Collection[Job]) -> EnqueueResult | None:
        user = signed_in(request)
        try:
            with transaction.atomic():  # all or none
                came = control.rerun(jobs, user)
                self._log(request, jobs, "Rerun.")
        except control.NotPossible as reason:
            self.message_user(request, f"No job was rerun: {reason}.", messages.ERROR)
            return None
        self.message_user(request, f"Rerun: {came}.", messages.SUCCESS)
        return came

    def _reprioritise(self, request: HttpRequest, jobs: Collection[Job], form: PriorityForm) -> bool:
        """Change the priority of the jobs. False, with an error in the form, if the priority is not possible."""
        priority = form.cleaned_data["priority"]
        try:
            with transaction.atomic():
                changed = control.reprioritise([job.pk for job in jobs], priority, request.user.get_username())
                self._log(request, changed, f"Priority changed to {priority}.")
        except control.NotPossible as reason:
            form.add_error("priority", f"{reason}.")
            return False
        hint = "only a waiting job with a different priority can be changed"
        self._tell(request, f"Priority {priority}", changed, jobs, hint)
        return True

    def _log(self, request: HttpRequest, jobs: Iterable[Job], message: str) -> None:
        LogEntry.objects.log_actions(request.user.pk, list(jobs), CHANGE, message)  # type: ignore[arg-type]

    def _tell(self, request: HttpRequest, what: str, done: Collection[Job], asked: Collection[Job], hint: str) -> None:
        """Show messages with the changed jobs, and with the status of each unchanged job."""
        if done:
            self.message_user(request, f"{what}: {name_some((job.subject for job in done), NAMED)}.", messages.SUCCESS)
        changed: set[UUID] = {job.pk for job in done}
        others = Job.objects.filter(pk__in={job.pk for job in asked} - changed)
        if others:
            found = name_some((f"{job.subject} is {job.status}" for job in others), NAMED)
            self.message_user(request, f"Not changed: {found}; {hint}.", messages.WARNING if done else messages.ERROR)

    def _confirm(
        self,
        request: HttpRequest,
        title: str,
        jobs: Collection[Job],
        *,
        form: PriorityForm | None = None,
        action_name: str = "",
        **about_all: Any,
    ) -> HttpResponse:
        """The confirmation page. With `action_name`, its form repeats this action of the list.

        `about_all` describes an action on all matching jobs, in place of `jobs`.
        """
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "jobs": jobs,
            "form": form,
            "action_name": action_name,
            "action_checkbox_name": ACTION_CHECKBOX_NAME,
            "back": request.get_full_path() if action_name else reverse("admin:tasks_job_changelist"),
            "is_all": bool(about_all),
            **about_all,
        }
        return TemplateResponse(request, f"admin/tasks/job/confirm{'_all' if about_all else ''}.html", context)


def _is_about_all(request: HttpRequest) -> bool:
    """Whether the user chose all matching jobs, on every page of the list."""
    return request.POST.get("select_across") == "1"
