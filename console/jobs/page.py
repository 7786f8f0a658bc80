"""A job's page in the admin, refreshed until the job has ended."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.http import HttpRequest
from django.utils import timezone
from django_celery_results.models import TaskResult

from console.jobs.mqtt_topics import topics_of
from console.jobs.timeline import attempts, events_of, phases, steps
from console.kit.live_page import LivePage
from stockqueue.wording import describe_duration
from tasks.delivery.waits import why_waiting
from tasks.describe import describe_result, run_time_of, wait_of
from tasks.models import Job
from tasks.priority import explain

LINGER = timedelta(seconds=3)
"""Time of refreshes after a job's end: its events reach MQTT and Celery a moment later."""
MOST_SHOWN = 20
"""Requesters and reruns that the page shows; the rest is a number."""


class JobPage(LivePage):
    part_template = "admin/tasks/job/part.html"

    def is_over(self, job: Job) -> bool:
        return job.finished_at is not None and job.finished_at < timezone.now() - LINGER

    def describe(self, request: HttpRequest, job: Job) -> dict[str, Any]:
        now = timezone.now()
        events = events_of(job)
        requests = list(job.requests.select_related("user")[: MOST_SHOWN + 1])
        reruns = list(job.reruns.order_by("-created_at")[: MOST_SHOWN + 1])
        topics = topics_of(job, events, requests)
        may_see_result = request.user.has_perm("django_celery_results.view_taskresult")
        return {
            "job": job,
            "facts": list(_facts(job, now)),
            "changes": list(_changes(job)),
            "why_this_priority": explain(job.priority_reason),
            "phases": phases(job, events, now),
            "steps": [(step, topics.get(step.event.pk, ())) for step in steps(events)],
            "attempts": attempts(events, now),
            "requests": requests[:MOST_SHOWN],
            "more_requests": len(requests) > MOST_SHOWN,
            "reruns": reruns[:MOST_SHOWN],
            "more_reruns": len(reruns) > MOST_SHOWN,
            "may_see_events": request.user.has_perm("tasks.view_jobevent"),
            "may_see_requests": request.user.has_perm("tasks.view_jobrequest"),
            "may_see_workers": request.user.has_perm("tasks.view_worker"),
            "may_see_result": may_see_result,
            "task_result": TaskResult.objects.filter(task_id=str(job.pk)).first() if may_see_result else None,
            "parameters": _as_json(job.parameters),
            "result": _as_json(job.result) if job.result else "",
        }


def _facts(job: Job, now: datetime) -> Iterator[tuple[str, str]]:
    yield "Symbol", job.subject
    yield "Type", f"{job.job_type} ({job.subtype})" if job.subtype else job.job_type
    yield "Trigger", job.trigger
    yield "Priority", f"{job.priority} in {job.queue}"
    for words, duration in (("Waited for a worker", wait_of(job, now)), ("Ran", run_time_of(job, now))):
        if duration is not None:
            yield words, describe_duration(duration)
    if job.retries:
        yield "Failed attempts", str(job.retries)
    if wait := why_waiting(job, now):
        yield "Waits for", str(wait)
    elif job.run_at is not None and job.status == Job.Status.PENDING:
        yield "Next attempt", f"{job.run_at:%Y-%m-%d %H:%M:%S} UTC"
    if job.refused_at is not None:
        yield "Refused by the broker since", f"{job.refused_at:%Y-%m-%d %H:%M:%S} UTC"
    if job.heartbeat_at is not None and job.status == Job.Status.RUNNING:
        yield "Last heartbeat", f"{describe_duration(now - job.heartbeat_at)} ago"


def _changes(job: Job) -> Iterator[tuple[str, str]]:
    """The job's result: the found and stored bars of a fetch, or a sentence for any other job."""
    result = job.result or {}
    if "days_fetched" not in result:
        if result:
            yield "Result", describe_result(job.job_type, result)
        return
    yield "Source", result.get("source") or "none"
    if "via" in result:
        yield "Answer", f"{result['via']}: {result['via_reason']}"
    yield "Bars received", f"{result['days_fetched']}"
    yield "Bars stored", f"{result['records_stored']}"
    if "latest_after" in result:
        yield "Newest bar before", result.get("latest_before") or "none"
        yield "Newest bar after", result["latest_after"]
    if "adjusted" in result:
        yield "Adjusted by the source", result["adjusted"]
    if "reason" in result:
        yield "Reason", result["reason"]


def _as_json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
