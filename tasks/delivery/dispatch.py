"""Dispatch: hands committed jobs over to the broker, or to direct processing.

request or end of a job → commit → admission (within the caps) → commit → broker → queued
                                                                   ↘ direct processing
"""

import hashlib
import logging
from collections.abc import Collection, Iterable, Sequence
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from tasks import job_types
from tasks.delivery import broker, direct
from tasks.delivery.admission import admit, forget_refusals, give_back, note_refusal
from tasks.models import Job
from tasks.state.crash_points import crash_point
from tasks.state.lifecycle import mark_queued

logger = logging.getLogger(__name__)

JOBS_PER_ADMISSION = 1_000
"""Jobs admitted in a transaction."""
IN_A_REQUEST = 0.5
"""Seconds for sending while a user waits for an answer; the sweeper sends the rest."""
IN_THE_BACKGROUND = 30.0
"""Seconds for sending a thousand jobs in a command or in the sweeper."""


def dispatch_after_commit(queues: Iterable[str]) -> None:
    """Dispatch the waiting jobs of the queues after the current transaction has committed."""
    for queue in sorted(set(queues)):
        transaction.on_commit(lambda queue=queue: dispatch(queue, within=IN_A_REQUEST), robust=True)  # type: ignore[misc]


def dispatch(queue: str, *, within: float = IN_THE_BACKGROUND) -> int:
    """Admit pending jobs of a queue within the caps, and hand them over. Return how many."""
    crash_point("committed")
    handed = 0
    while True:
        with transaction.atomic():
            jobs = admit(queue, JOBS_PER_ADMISSION)
        sent = hand_over(jobs, within=within)
        handed += sent
        if sent < len(jobs) or within == IN_A_REQUEST:
            return handed
        if len(jobs) < JOBS_PER_ADMISSION:
            forget_refusals(queue)
            return handed


def send_again_after_commit(jobs: Sequence[Job]) -> None:
    """Send another message for already admitted jobs, for example after a promotion."""
    sent_before = [job.pk for job in jobs if job.dispatched_at is not None]
    if sent_before:
        transaction.on_commit(lambda: send_again(sent_before, within=IN_A_REQUEST), robust=True)


def send_again(job_ids: Collection[UUID], *, within: float = IN_THE_BACKGROUND) -> int:
    """Send another message for waiting jobs; return how many were sent. A duplicate finds its job claimed."""
    waiting = Job.objects.filter(pk__in=job_ids, status__in=Job.WAITING).order_by("priority", "created_at")
    sent = _publish(cohorts_of(waiting), within=within)
    Job.objects.filter(pk__in=sent, dispatched_at__isnull=False).update(dispatched_at=timezone.now())
    mark_queued(sent, admitted=True)
    return len(sent)


def release_next(jobs: Sequence[Job]) -> None:
    """Admit the next jobs, in the transaction in which jobs leave their queue; hand them over after the commit.

    `jobs` are of the same queue, as returned by their transitions. After a retry, a job may itself be the next.
    """
    # False for most jobs, and saves the lock.
    if not any(job.others_wait or job.status == Job.Status.PENDING for job in jobs):
        return
    # The room of a single job may be the room of a cohort.
    if admitted := admit(jobs[0].queue, max(len(jobs), job_types.largest_cohort())):
        transaction.on_commit(lambda: hand_over(admitted, within=IN_A_REQUEST), robust=True)


def hand_over(jobs: Sequence[Job], *, within: float) -> int:
    """Send admitted jobs, or process them directly. Return how many. The rest lose their admission, and wait."""
    ours = [job for job in jobs if _is_direct(job)]
    theirs = [job for job in jobs if not _is_direct(job)]
    sent = _publish(cohorts_of(theirs), within=within)
    crash_point("published")
    mark_queued(sent, admitted=True)
    known = set(sent)
    unsent = [job for job in theirs if job.pk not in known]
    if direct.may_stand_in():
        ours += [job for job in unsent if job.queue == Job.Queue.FOREGROUND]
    taken = direct.process(cohorts_of(ours))
    left = {job.pk for job in jobs} - known - taken
    if left:
        give_back(left)
    if broker.breaker.is_open:
        note_refusal(left.intersection(job.pk for job in unsent))
    return len(jobs) - len(left)


def cohorts_of(jobs: Iterable[Job]) -> list[list[Job]]:
    """Divide jobs into groups, each with a message, in the order of their first jobs.

    A message makes a worker claim a full group of the cohort, the most urgent jobs first.
    """
    groups: list[list[Job]] = []
    open_groups: dict[tuple[str, str], list[Job]] = {}
    sizes: dict[str, int] = {}
    for job in jobs:
        if job.cohort not in sizes:
            sizes[job.cohort] = job_types.cohort_size(job.cohort)
        key = (job.queue, job.cohort)
        group = open_groups.get(key)
        if group is None or len(group) >= sizes[job.cohort]:
            groups.append(group := [])
            open_groups[key] = group
        group.append(job)
    return groups


def _publish(groups: Sequence[Sequence[Job]], *, within: float) -> list[UUID]:
    """Send a message for the first job of each group. Return the ids of all jobs that the accepted messages cover."""
    sent = set(broker.publish([group[0] for group in groups], within=within))
    return [job.pk for group in groups if group[0].pk in sent for job in group]


def _is_direct(job: Job) -> bool:
    """Whether a job bypasses the broker: there is no broker, or the rollout does not include its user yet."""
    if not direct.may_stand_in():
        return False
    if settings.JOB_PROCESSOR.queue.backend == "direct":
        return True
    return job.dispatched_for_id is not None and not in_rollout(job.dispatched_for_id)


def in_rollout(user_id: int) -> bool:
    """Whether a user's jobs go through the broker: always the same `integration.rollout_percent` of the users."""
    digest = hashlib.sha256(f"rollout {user_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % 100 < settings.JOB_PROCESSOR.integration.rollout_percent
