"""What a lifecycle message says: the predecessor's fields of a job, and ours beside them."""

import json
from datetime import datetime
from typing import Any

from tasks.models import Job, JobEvent

SCHEMA = "stockqueue.job/1"

Event = JobEvent.Event

# The predecessor knew four statuses; `state` has ours.
_STATUS = {
    Job.Status.PENDING: "pending",
    Job.Status.QUEUED: "pending",
    Job.Status.RUNNING: "running",
    Job.Status.COMPLETED: "completed",
    Job.Status.FAILED: "failed",
    Job.Status.EXPIRED: "failed",
    Job.Status.CANCELLED: "failed",
}


def lifecycle_payload(event: JobEvent) -> dict[str, Any]:
    """The message for one event, the same on each of its topics but for what `for_topic` changes."""
    job, facts = event.job, event.payload
    payload: dict[str, Any] = {
        "id": str(job.pk),
        "job_type": job.job_type,
        "subtype": job.subtype,
        "user_id": job.user_id,
        "symbol": job.symbol,
        "priority": facts["priority"],
        "status": _STATUS[facts["state"]],
        "created_at": _unix(job.created_at),
        "attempts": facts["attempt"],
        "parameters": job.parameters,
        "metadata": {
            "user_id": job.user_id,
            "symbol": job.symbol,
            "batch_size": len(job.parameters.get("symbols", [job.symbol])),
            "request_source": job.trigger,
            "created_by": "stockqueue",
        },
        "schema": SCHEMA,
        "event_id": event.pk,
        "seq": event.seq,
        "event": event.event,
        "job_id": str(job.pk),
        "state": facts["state"],
        "queue": facts["queue"],
        "attempt": facts["attempt"],
        "trigger": job.trigger,
        "worker_id": facts["worker_id"],
        "timestamp": _unix(event.created_at),
        "at": event.created_at.isoformat(),
    }
    if event.event == Event.COMPLETED:
        payload |= {"result": facts["result"], "completed_at": _unix(event.created_at)}
    elif event.event in (Event.RETRIED, Event.FAILED, Event.EXPIRED, Event.CANCELLED):
        payload |= {
            "error": facts.get("error", ""),
            "failed_at": _unix(event.created_at),
            "retry": event.event == Event.RETRIED,
        }
    return payload


def for_topic(payload: dict[str, Any], template: str) -> bytes:
    """`payload` as the bytes for one topic: on `job_failed` the status is `failed`, even when a retry follows."""
    if template == "job_failed":
        payload = payload | {"status": "failed"}
    text = json.dumps(payload, separators=(",", ":"), ensure_ascii=False)
    return text.encode(errors="backslashreplace")  # half of a surrogate pair becomes JSON's own escape for it


def _unix(moment: datetime) -> int:
    return int(moment.timestamp())
