"""The payloads of messages in JSON. Lifecycle payloads have the predecessor's job fields, and further fields."""

import json
from datetime import datetime
from typing import Any

from tasks.models import Job, JobEvent

SCHEMA = "stockqueue.job/1"
LONGEST_PAYLOAD = 65_536
"""The longest payload in bytes; subscribers on small machines rely on a limit."""
LONGEST_PART = 1_000
"""The most bytes kept of a truncated field, for each of its members."""
_CUT = ("result", "error", "parameters")
"""Fields to truncate, in this order, until the payload is short enough."""

Event = JobEvent.Event

# The predecessor had four statuses; the field `state` has the exact status.
_STATUS = {
    Job.Status.PENDING: "pending",
    Job.Status.QUEUED: "pending",
    Job.Status.RUNNING: "running",
    Job.Status.COMPLETED: "completed",
    Job.Status.FAILED: "failed",
    Job.Status.EXPIRED: "failed",
    Job.Status.CANCELLED: "failed",
}


class PayloadTooLong(ValueError):
    """The payload is too long, even after truncation."""


def lifecycle_payload(event: JobEvent) -> dict[str, Any]:
    """The payload of an event, the same on each of its topics except for the changes of `for_topic`."""
    job, facts = event.job, event.payload
    payload: dict[str, Any] = {
        "id": str(job.pk),
        "job_type": job.job_type,
        "subtype": job.subtype,
        "user_id": job.user_id,
        "symbol": job.symbol,
        "priority": facts["priority"],
        "status": _STATUS[facts["state"]],
        "created_at": unix(job.created_at),
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
        "timestamp": unix(event.created_at),
        "at": event.created_at.isoformat(),
    }
    if event.event == Event.COMPLETED:
        payload |= {"result": facts["result"], "completed_at": unix(event.created_at)}
    elif event.event == Event.PROGRESS and "waiting_for" in facts:
        payload |= {"waiting_for": facts["waiting_for"], "until": facts["until"]}
    elif event.event in (Event.RETRIED, Event.FAILED, Event.EXPIRED, Event.CANCELLED):
        payload |= {
            "error": facts.get("error", ""),
            "failed_at": unix(event.created_at),
            "retry": event.event == Event.RETRIED,
        }
    return payload


def for_topic(payload: dict[str, Any], template: str) -> bytes:
    """Encode a payload for a topic: on `job_failed`, the status is `failed`, even if a retry follows.

    A payload longer than LONGEST_PAYLOAD loses long parts, which `truncated` names. Raise PayloadTooLong if the rest
    is still too long.
    """
    if template == "job_failed":
        payload = payload | {"status": "failed"}
    encoded = as_json(payload)
    for name in _CUT if len(encoded) > LONGEST_PAYLOAD else ():
        if name in payload:
            payload = payload | {name: _shortened(payload[name]), "truncated": [*payload.get("truncated", []), name]}
            encoded = as_json(payload)
            if len(encoded) <= LONGEST_PAYLOAD:
                break
    if len(encoded) > LONGEST_PAYLOAD:
        raise PayloadTooLong(f"the event's payload has {len(encoded)} bytes; at most {LONGEST_PAYLOAD} are allowed")
    return encoded


def _shortened(value: Any) -> Any:
    """A value of the same type without its long parts."""
    if isinstance(value, dict):
        return {name: member for name, member in value.items() if len(as_json(member)) <= LONGEST_PART}
    return value[:LONGEST_PART] if isinstance(value, str) else value


def as_json(value: Any) -> bytes:
    """Encode a payload, or a part of it, for sending."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text.encode(errors="backslashreplace")  # a lone surrogate becomes a JSON escape


def unix(moment: datetime) -> int:
    """Seconds since 1970."""
    return int(moment.timestamp())
