"""Repairs jobs after crashes, lost messages and time limits. Safe to run twice at once."""

import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Max, Q
from django.utils import timezone

from tasks import job_types
from tasks.delivery import broker
from tasks.delivery.admission import forget_unused
from tasks.delivery.dispatch import dispatch, release_next, send_again
from tasks.models import Job
from tasks.running import heartbeat
from tasks.running.retries import retries_left
from tasks.state import lifecycle
from tasks.state.lifecycle import ClaimLost

logger = logging.getLogger(__name__)

UNUSED_AFTER = timedelta(seconds=10)
"""An admission without a sent message is revoked after this time."""
FORGOTTEN_AFTER = timedelta(seconds=20)
"""The time before the sweeper checks whether the broker still has a message."""
OVERTIME = timedelta(seconds=60)
"""Time beyond its time limit after which a job is given up, even if its process sends heartbeats."""
JOBS_PER_SWEEP = 1_000
CLOCK_TOLERANCE = 5.0
"""The largest change of the clock, in seconds, that does not count as a jump."""


class _ClockWatch:
    """Detects changes of the system's clock by comparing it with the monotonic clock."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()
        self._jumped_at = float("-inf")
        self._lock = threading.Lock()

    def is_settled(self, after: float) -> bool:
        """Whether the clock has not jumped in the last `after` seconds, as far as this process can tell."""
        with self._lock:
            now = time.monotonic()
            offset = time.time() - now
            if abs(offset - self._offset) > CLOCK_TOLERANCE:
                logger.warning(
                    "the clock jumped by %.0f s; jobs are not rescued or expired for now", offset - self._offset
                )
                self._jumped_at = now
            self._offset = offset
            return now - self._jumped_at >= after


_clock = _ClockWatch()
_chores: list[Callable[[], object]] = []


def add_chore(chore: Callable[[], object]) -> None:
    """Run `chore` in each sweep, before jobs are dispatched. Two sweepers may run a chore at the same time."""
    _chores.append(chore)


def sweep() -> int:
    """Run all repairs once. Return how many jobs were handed over."""
    if _clock.is_settled(heartbeat.patience().total_seconds()):
        expire_overdue()
        rescue_abandoned()
    forget_unused(UNUSED_AFTER)
    wake_waiting()
    for chore in _chores:
        chore()
    sent = 0
    for queue in Job.Queue.values:
        sent += send_forgotten(queue)
        sent += dispatch(queue)
    return sent


def expire_overdue() -> int:
    """Expire the jobs queued for longer than their queue's `ttl`. Return how many."""
    expired = 0
    for queue in Job.Queue.values:
        ttl = getattr(settings.JOB_PROCESSOR.queue.priority_queues, queue).ttl
        before = timezone.now() - timedelta(seconds=ttl)
        overdue = Job.objects.active().filter(queue=queue, status=Job.Status.QUEUED, queued_at__lte=before)
        job_ids = list(overdue.values_list("pk", flat=True)[:JOBS_PER_SWEEP])
        if job_ids:
            expired += len(lifecycle.expire(job_ids, before, f"waited longer than {ttl} s in {queue}"))
    return expired


def rescue_abandoned() -> int:
    """Take the jobs of dead workers, and jobs far beyond their time limit, from their workers. Return how many."""
    patience = heartbeat.patience()
    running = Job.objects.active().filter(status=Job.Status.RUNNING).order_by("started_at")
    rescued = 0
    for job in running.filter(heartbeat.missed())[:JOBS_PER_SWEEP]:
        rescued += give_up(job, f"worker {job.worker_id} was lost: no heartbeat for {patience.seconds} s")
    for job_type in Job.Type.values:
        limit = job_types.time_limit(job_type)
        late = running.filter(job_type=job_type, started_at__lt=timezone.now() - timedelta(seconds=limit) - OVERTIME)
        for job in late[:JOBS_PER_SWEEP]:
            rescued += give_up(job, f"took longer than {limit} s, and did not stop")
    return rescued


def wake_waiting() -> None:
    """Wake the jobs that wait for ended jobs."""
    with transaction.atomic():
        lifecycle.wake()


def give_up(job: Job, error: str, *, counts: bool = True) -> bool:
    """Take a running job from its worker: it is retried without delay, or fails if its retries are used up.

    The worker may still be alive; its late writes are refused. Return False if the worker no longer had the job.
    """
    try:
        with transaction.atomic():
            if counts and retries_left(job) == 0:
                job = lifecycle.fail(job, error)
            else:
                job = lifecycle.retry(job, error, timezone.now(), counts=counts)
            release_next([job])
    except ClaimLost:
        return False
    logger.warning("job %s: %s", job.pk, error)
    return True


def send_forgotten(queue: str) -> int:
    """Send messages again after the broker has lost them. Return how many the broker accepted.

    A message counts as lost if the broker's queue is empty, or if a job sent later with the same or a lower urgency is
    already running. A duplicate message does no harm.
    """
    old = (
        Job.objects.active()
        .filter(queue=queue, status=Job.Status.QUEUED, dispatched_at__lte=timezone.now() - FORGOTTEN_AFTER)
        .order_by("priority", "created_at")
    )
    if not old.exists():
        return 0
    try:
        forgotten = old if broker.depth(queue) == 0 else old.filter(_was_passed(queue))
    except OSError:
        return 0
    return send_again(list(forgotten.values_list("pk", flat=True)[:JOBS_PER_SWEEP]))


def _was_passed(queue: str) -> Q:
    """Jobs sent well before a running job of the same or a lower urgency."""
    running = (
        Job.objects.active().filter(queue=queue, status=Job.Status.RUNNING, dispatched_at__isnull=False).order_by()
    )
    passed = Q(pk__in=list[UUID]())
    for priority, sent_at in running.values_list("priority").annotate(Max("dispatched_at")):
        passed |= Q(priority__lte=priority, dispatched_at__lt=sent_at - FORGOTTEN_AFTER)
    return passed
