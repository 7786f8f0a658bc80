"""Describes jobs and events in words, for commands and the admin."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from tasks import job_types
from tasks.models import Job, JobEvent

_RAN = (Job.Status.RUNNING, *Job.WORKED_TO_THE_END)


def wait_of(job: Job, now: datetime) -> timedelta | None:
    """The time from `queued` to `started` in the latest attempt, or until now. None if the job was not sent."""
    if job.queued_at is None:
        return None
    if job.status == Job.Status.QUEUED:
        return now - job.queued_at
    if not _has_run(job) or job.started_at is None:
        end = job.finished_at
        return None if end is None else end - job.queued_at
    return max(job.started_at - job.queued_at, timedelta())


def run_time_of(job: Job, now: datetime) -> timedelta | None:
    """The duration of the latest attempt so far; None if the attempt has not started."""
    if not _has_run(job) or job.started_at is None:
        return None
    return (job.finished_at or now) - job.started_at


def _has_run(job: Job) -> bool:
    """Whether `started_at` belongs to the same attempt as `queued_at`, not to an earlier attempt."""
    if job.status in _RAN:
        return True
    return job.started_at is not None and job.queued_at is not None and job.started_at >= job.queued_at


def describe_end(job: Job) -> str:
    """The end of an ended job: its outcome and the stored data, or its error."""
    if job.status != Job.Status.COMPLETED:
        return f"{job.status}: {job.error}"
    return f"{job.outcome}: {describe_result(job.job_type, job.result or {})}"


def describe_wait(job: Job, now: datetime) -> str:
    """The reason why an active job waits, and the error of its last attempt."""
    why = f": {job.error}" if job.error else ""
    if job.status == Job.Status.RUNNING:
        return f"attempt {job.attempt}" if job.attempt > 1 else ""
    if job.run_at is not None and job.run_at > now and is_snoozed(job):
        return describe_snooze(job.waiting_for, job.run_at)
    if job.run_at is not None and job.run_at > now:
        return f"next attempt at {_time(job.run_at.isoformat())}{why}"
    return f"waits for {'a worker' if job.status == Job.Status.QUEUED else 'its turn'}{why}"


def is_snoozed(job: Job) -> bool:
    """Whether a pending job waits for something outside the job, and not for its next attempt after a failure."""
    return bool(job.waiting_for) and job.status == Job.Status.PENDING and job.run_at is not None


def describe_snooze(waiting_for: str, until: datetime | str) -> str:
    """What a job waits for, and until when at the latest."""
    return f"waits for {waiting_for} until {_time(until)}"


def describe_result(job_type: str, result: Mapping[str, Any]) -> str:
    """A completed job's result: the data found and stored, or the reason for storing nothing."""
    return job_types.find(job_type).describe_result(result)


def describe_event(event: JobEvent) -> str:
    """The details of an event beyond its name: an error, the next attempt, the progress, the worker."""
    facts = event.payload
    match event.event:
        case JobEvent.Event.CREATED:
            place = f"priority {facts.get('priority')} in {facts.get('queue')}"
            return f"{place}; rerun of {facts['retry_of']}" if "retry_of" in facts else place
        case JobEvent.Event.STARTED:
            return f"attempt {facts.get('attempt')} by {facts.get('worker_id')}"
        case JobEvent.Event.PROMOTED:
            return f"priority {facts.get('priority')} in {facts.get('queue')}"
        case JobEvent.Event.RETRIED:
            return f"{facts.get('error')}; next attempt at {_time(facts.get('run_at'))}"
        case JobEvent.Event.PROGRESS:
            if "waiting_for" in facts:
                return describe_snooze(facts["waiting_for"], facts.get("until", ""))
            return job_types.find(event.job.job_type).describe_progress(facts)
        case JobEvent.Event.COMPLETED:
            return describe_result(event.job.job_type, facts.get("result") or {})
        case _:
            return str(facts.get("error", ""))


def _time(moment: Any) -> str:
    try:
        return datetime.fromisoformat(str(moment)).strftime("%Y-%m-%d %H:%M:%S %Z")
    except ValueError:
        return str(moment)
