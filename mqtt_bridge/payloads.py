"""What messages say as JSON; of a lifecycle message, the predecessor's fields of a job, and ours beside them."""

import json
from datetime import datetime
from typing import Any

from tasks.models import Job, JobEvent

SCHEMA = "stockqueue.job/1"
LONGEST_PAYLOAD = 65_536
"""Bytes; subscribers on small machines count on a limit."""
LONGEST_PART = 1_000
"""Bytes of what stays of a field that has to be cut, for each of its members."""
_CUT = ("result", "error", "parameters")
"""What is cut, in this order, until the payload is short enough."""

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


class PayloadTooLong(ValueError):
    """Not even without its long parts is the message short enough."""


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
    elif event.event in (Event.RETRIED, Event.FAILED, Event.EXPIRED, Event.CANCELLED):
        payload |= {
            "error": facts.get("error", ""),
            "failed_at": unix(event.created_at),
            "retry": event.event == Event.RETRIED,
        }
    return payload


def for_topic(payload: dict[str, Any], template: str) -> bytes:
    """`payload` as the bytes for one topic: on `job_failed` the status is `failed`, even when a retry follows.

    What is longer than LONGEST_PAYLOAD loses long parts, which `truncated` names; PayloadTooLong where that is not
    enough.
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
        raise PayloadTooLong(f"the event's payload has {len(encoded)} bytes, {LONGEST_PAYLOAD} are allowed")
    return encoded


def _shortened(value: Any) -> Any:
    """A value of the same type without what is long in it."""
    if isinstance(value, dict):
        return {name: member for name, member in value.items() if len(as_json(member)) <= LONGEST_PART}
    return value[:LONGEST_PART] if isinstance(value, str) else value


def as_json(value: Any) -> bytes:
    """A payload, or a part of one, as it is sent."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text.encode(errors="backslashreplace")  # half of a surrogate pair becomes JSON's own escape for it


def unix(moment: datetime) -> int:
    """Seconds since 1970."""
    return int(moment.timestamp())
