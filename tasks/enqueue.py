"""Enqueues jobs: creates jobs, or joins active jobs for the same work."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from stockqueue.wording import name_some
from tasks import job_types
from tasks.delivery.dispatch import dispatch_after_commit, send_again_after_commit
from tasks.models import Job, JobRequest
from tasks.priority import Factors, queue_for, rank
from tasks.state import lifecycle

INSERTED_TOGETHER = 1_000
"""Jobs in an INSERT."""
SHOWN = 10
"""Symbols named in a message to people."""

NOTHING_KNOWN = Factors()

_SUBTYPES = {
    Job.Trigger.USER_LOGIN: "portfolio_priority",
    Job.Trigger.USER_REQUEST: "manual_request",
    Job.Trigger.SCHEDULED_UPDATE: "scheduled_update",
}

# An active job can end before a request joins it; its unique key is free again then.
_ROUNDS = 3


@dataclass(frozen=True)
class JobSpec:
    """A request for a job. At most one active job has a `unique_key`. `factors` influence the job's priority.

    `retry_of` is the ended job to rerun.
    """

    job_type: Job.Type
    unique_key: str
    symbol: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    factors: Factors = NOTHING_KNOWN
    retry_of: UUID | None = None


@dataclass
class EnqueueResult:
    """The result of a request: created jobs, and active jobs that the request joined."""

    created: list[Job] = field(default_factory=list)
    joined: list[Job] = field(default_factory=list)

    @property
    def jobs(self) -> list[Job]:
        return self.created + self.joined

    def __str__(self) -> str:
        if not self.jobs:
            return "nothing to fetch"
        parts = []
        if self.created:
            parts.append(f"queued {name_subjects(self.created)}")
        if self.joined:
            parts.append(f"already requested: {name_subjects(self.joined)}")
        return "; ".join(parts)


def name_subjects(jobs: Sequence[Job]) -> str:
    """Name each subject once, even if several jobs have the same subject."""
    return name_some((job.subject for job in jobs), SHOWN)


def enqueue(specs: Iterable[JobSpec], trigger: Job.Trigger, user: User | None = None) -> EnqueueResult:
    """Create a job for each spec without an active job, and join the active jobs, which take the better priority.

    The number of queries is the same for up to a thousand specs, and again for each further thousand. The jobs are
    dispatched when the surrounding transaction commits. If several specs have the same key, the last spec counts.
    """
    now = timezone.now()
    jobs: dict[str, Job] = {}
    for number, spec in enumerate(specs):
        queue = queue_for(spec.job_type, trigger, spec.parameters)
        entry = job_types.find(spec.job_type)
        place = entry.place(spec.parameters)
        ranked = rank(trigger, queue, spec.factors, place)
        jobs[spec.unique_key] = Job(
            job_type=spec.job_type,
            subtype=place.kind if place else _SUBTYPES.get(trigger, ""),
            trigger=trigger,
            user_id=None if user is None else user.pk,  # setting `user` would take time
            symbol=spec.symbol,
            parameters=dict(spec.parameters) | {"triggered_by": trigger},
            unique_key=spec.unique_key,
            priority=ranked.priority,
            priority_reason=ranked.reason,
            queue=queue,
            cohort=job_types.cohort_of(spec.job_type, spec.parameters),
            limited_by=entry.limited_by(spec.parameters),
            retry_of_id=spec.retry_of,
            last_seq=1,
            # Jobs of a request keep their order: the oldest goes first.
            created_at=now + timedelta(microseconds=number),
        )
    requested = EnqueueResult()
    keys = list(jobs)
    for first in range(0, len(keys), INSERTED_TOGETHER):
        part = {key: jobs[key] for key in keys[first : first + INSERTED_TOGETHER]}
        for left in reversed(range(_ROUNDS)):
            with transaction.atomic():
                came = _create_or_join(part)
                if left and len(came.jobs) < len(part):
                    # A job inserted after the rest would be out of order. So all jobs are tried again.
                    transaction.set_rollback(True)
                    continue
                if came.joined:
                    _join(came.joined, part, trigger, user)
                dispatch_after_commit(job.queue for job in (*part.values(), *came.joined))
            break
        requested.created += came.created
        requested.joined += came.joined
    return requested


def _create_or_join(wanted: Mapping[str, Job]) -> EnqueueResult:
    """Create jobs, and find the active jobs of the other keys. A key has no job if its active job has just ended."""
    # In key order, so that two requests for the same stocks wait for each other instead of deadlocking.
    created = lifecycle.create([wanted[key] for key in sorted(wanted)])
    if len(created) == len(wanted):
        return EnqueueResult(created=list(wanted.values()))
    active = _active([key for key, job in wanted.items() if job.pk not in created])
    found = Job.objects.in_bulk(list(active.values()))
    return EnqueueResult(
        created=[job for job in wanted.values() if job.pk in created],
        joined=[found[active[key]] for key in wanted if key in active],
    )


def _join(joined: Sequence[Job], wanted: Mapping[str, Job], trigger: Job.Trigger, user: User | None) -> None:
    JobRequest.objects.bulk_create(JobRequest(job=job, user=user, trigger=trigger) for job in joined)
    _promote(joined, wanted)


def _active(keys: Collection[str]) -> dict[str, UUID]:
    """The ids of the active jobs, by key."""
    active = Job.objects.active().filter(unique_key__in=keys)
    return dict(active.values_list("unique_key", "pk"))


def _promote(joined: Sequence[Job], wanted: Mapping[str, Job]) -> None:
    """Promote waiting jobs to the priority of a more urgent request."""
    reasons: dict[tuple[int, Job.Queue], dict[UUID, dict[str, Any]]] = {}
    for job in joined:
        asked = wanted[job.unique_key]
        if job.status in Job.WAITING and asked.priority < job.priority:
            reasons.setdefault((asked.priority, Job.Queue(asked.queue)), {})[job.pk] = asked.priority_reason
    if reasons:
        lifecycle.lock_rows([job_id for group in reasons.values() for job_id in group])
    for (priority, queue), group in reasons.items():
        send_again_after_commit(lifecycle.promote(group, priority, queue))
