"""How jobs and what happened to them are put into words, for commands and the admin."""

from datetime import datetime, timedelta
from typing import Any

from tasks.models import Job, JobEvent

_RAN = (Job.Status.RUNNING, Job.Status.COMPLETED, Job.Status.FAILED)


def wait_of(job: Job, now: datetime) -> timedelta | None:
    """From `queued` to `started` in its latest attempt, or until now where it waits; None where it was not sent."""
    if job.queued_at is None:
        return None
    if job.status == Job.Status.QUEUED:
        return now - job.queued_at
    if not _has_run(job) or job.started_at is None:
        end = job.finished_at
        return None if end is None else end - job.queued_at
    return max(job.started_at - job.queued_at, timedelta())


def run_time_of(job: Job, now: datetime) -> timedelta | None:
    """How long its latest attempt took, or has been taking; None where it has not begun."""
    if not _has_run(job) or job.started_at is None:
        return None
    return (job.finished_at or now) - job.started_at


def _has_run(job: Job) -> bool:
    """Whether `started_at` is of the attempt that `queued_at` tells of, and not of an earlier one."""
    if job.status in _RAN:
        return True
    return job.started_at is not None and job.queued_at is not None and job.started_at >= job.queued_at


def describe_duration(duration: timedelta) -> str:
    """`0.35 s`, `42 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`."""
    seconds = max(duration.total_seconds(), 0.0)
    if seconds < 10:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    while parts[0][0] == 0:
        parts.pop(0)
    return " ".join(f"{count} {unit}" for count, unit in parts[:2] if count)


def describe_moment(moment: datetime) -> str:
    """`2026-11-25 21:12:16.201`, in UTC."""
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03}"


def describe_end(job: Job) -> str:
    """What came of an ended job: its outcome and what was stored, or its error."""
    if job.status != Job.Status.COMPLETED:
        return f"{job.status}: {job.error}"
    return f"{job.outcome}: {describe_result(job.result or {})}"


def describe_wait(job: Job, now: datetime) -> str:
    """What a job that has not ended waits for, and why its last attempt failed."""
    why = f": {job.error}" if job.error else ""
    if job.status == Job.Status.RUNNING:
        return f"attempt {job.attempt}" if job.attempt > 1 else ""
    if job.run_at is not None and job.run_at > now:
        return f"again at {_time(job.run_at.isoformat())}{why}"
    return f"waits for {'a worker' if job.status == Job.Status.QUEUED else 'its turn'}{why}"


def describe_result(result: dict[str, Any]) -> str:
    """A completed job's result: what was found, how much was stored, or why nothing was."""
    if result.get("recommendation"):
        found = f"{result['recommendation']}, confidence {result['confidence']:.2f}"
        return f"{found}{_basis(result)}{_because(result)}"
    if "reason" in result:
        return str(result["reason"])
    if "days_fetched" in result:
        return f"{result['records_stored']} of {result['days_fetched']} bars stored, from {result['source']}"
    if "symbols_processed" in result:
        return (
            f"{result.get('successful_symbols', 0)} of {result['symbols_processed']} stocks, "
            f"{result.get('records_stored', 0)} bars stored"
        )
    if "new" in result:
        return f"{_count(result, 'headlines')} of the last days, {result['new']} new"
    return ""


def _basis(result: dict[str, Any]) -> str:
    """What a recommendation is of, as far as the result tells."""
    for name, of in (("bars", "until"), ("headlines", "until"), ("values", "of")):
        if name in result:
            return f", of {_count(result, name)} {of} {result.get('data_as_of')}"
    return ""


def _count(result: dict[str, Any], name: str) -> str:
    """`1 headline`, `2 headlines`."""
    return f"{result[name]} {name if result[name] != 1 else name.removesuffix('s')}"


def _because(result: dict[str, Any]) -> str:
    return f"; {result['reason']}" if "reason" in result else ""


def describe_event(event: JobEvent) -> str:
    """What an event tells beyond its name: an error, when it is tried again, how far it is, who works on it."""
    facts = event.payload
    match event.event:
        case JobEvent.Event.CREATED:
            place = f"priority {facts.get('priority')} in {facts.get('queue')}"
            return f"{place}; runs {facts['retry_of']} again" if "retry_of" in facts else place
        case JobEvent.Event.STARTED:
            return f"attempt {facts.get('attempt')} by {facts.get('worker_id')}"
        case JobEvent.Event.PROMOTED:
            return f"priority {facts.get('priority')} in {facts.get('queue')}"
        case JobEvent.Event.RETRIED:
            return f"{facts.get('error')}; again at {_time(facts.get('run_at'))}"
        case JobEvent.Event.PROGRESS:
            return _describe_progress(facts)
        case JobEvent.Event.COMPLETED:
            return describe_result(facts.get("result") or {})
        case _:
            return str(facts.get("error", ""))


def _describe_progress(facts: dict[str, Any]) -> str:
    done = f"{facts.get('done')} of {facts.get('total')}: {facts.get('symbol')}"
    if not facts.get("success", True):
        return f"{done}, {facts.get('error')}"
    if "skipped" in facts:
        return f"{done}, passed over: {facts['skipped']}"
    return f"{done}, {facts.get('reason') or str(facts.get('records', 0)) + ' bars stored'}"


def _time(moment: Any) -> str:
    try:
        return datetime.fromisoformat(str(moment)).strftime("%Y-%m-%d %H:%M:%S %Z")
    except ValueError:
        return str(moment)
