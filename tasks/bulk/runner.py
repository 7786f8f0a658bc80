"""Runs bulk actions in batches, each in its own transaction, so that nobody has to wait for them.

A message of the lowest priority makes a worker continue an action for a few seconds; then the worker sends the next
message. Without a broker, this process does the work. After a crash, the sweeper continues the action from the last
batch.
"""

import logging
import time
from collections import Counter
from datetime import timedelta
from functools import partial

from django.contrib.auth.models import User
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from tasks.bulk.changes import change
from tasks.bulk.selection import BrokenFilters, job_list
from tasks.delivery import light_tasks
from tasks.models import BulkAction, Job
from tasks.priority import BANDS
from tasks.state.crash_points import crash_point

logger = logging.getLogger(__name__)

TASK = "stockqueue.bulk_action"
JOBS_PER_BATCH = 200
"""Jobs in a transaction."""
PAUSE_BETWEEN_BATCHES = 0.12
"""Seconds between two batches. On SQLite, a batch blocks all other writers, which try again after 0.1 s."""
SLICE = 5.0
"""Seconds that a worker continues an action before other work gets its chance."""
RESEND_AFTER = timedelta(seconds=30)
"""A message expires after this time, and another message is sent."""
MOST_WAITING = 2_000
"""Reruns pause while more background jobs wait: each admission reads the waiting jobs of users at their cap."""
WAIT_FOR_ROOM = timedelta(seconds=5)
"""The length of the pause."""

_BACKGROUND = (Job.Queue.BACKGROUND_FETCH, Job.Queue.BACKGROUND_ANALYSIS)


def begin(
    kind: BulkAction.Kind, filters: str, user: User, matched: int, priority: int | None = None
) -> tuple[BulkAction, bool]:
    """Start an action on all matching jobs, or find the same running action. Return the action, and whether it is new.

    `filters` have the format of `tasks.bulk.selection`; `matched` is the number shown to people.
    """
    now = timezone.now()
    with transaction.atomic():
        action, is_new = BulkAction.objects.get_or_create(
            same=BulkAction.digest(kind, filters, priority),
            finished_at=None,
            defaults={
                "kind": kind,
                "priority": priority,
                "filters": filters,
                "user": user,
                "matched": matched,
                "created_at": now,
                "next_at": now + RESEND_AFTER,
            },
        )
        if is_new:
            logger.info("bulk action %s: %s of all jobs with %r, for %s", action.pk, kind, filters, user)
            transaction.on_commit(partial(hand_over, action.pk), robust=True)
    return action, is_new


def stop(action: BulkAction, user: User) -> bool:
    """Stop an action after the current batch. Return whether the action was running."""
    return _end_running(action.pk, BulkAction.State.STOPPED, f"stopped by {user}", user)


def go_on() -> None:
    """Send running actions again if they have not progressed for a while. The sweeper calls this function."""
    now = timezone.now()
    for pk in BulkAction.objects.running().filter(next_at__lte=now).values_list("pk", flat=True):
        # Only one of two sweepers sends the action.
        if BulkAction.objects.running().filter(pk=pk, next_at__lte=now).update(next_at=now + RESEND_AFTER):
            hand_over(pk)


def hand_over(action_id: int) -> bool:
    """Let a worker, or else this process, continue an action. If neither can, the sweeper tries again."""
    queue = Job.Queue.BACKGROUND_ANALYSIS
    lowest, expires = BANDS[queue][-1], RESEND_AFTER.total_seconds()
    return light_tasks.hand_over(TASK, work, action_id, queue=queue, priority=lowest, expires=expires)


def work(action_id: int) -> None:
    """Continue an action for SLICE seconds, or until its end. Safe to run twice at once: the second process stops."""
    try:
        if _work(action_id, time.monotonic() + SLICE):
            hand_over(action_id)
    except (InterfaceError, OperationalError) as error:
        logger.warning("bulk action %s: %s; the sweeper will continue", action_id, str(error).partition("\n")[0])
        connection.close()
    except Exception as error:
        if not isinstance(error, BrokenFilters):
            logger.exception("bulk action %s", action_id)
        _end_running(action_id, BulkAction.State.FAILED, str(error) or type(error).__name__)


def is_waiting(action: BulkAction) -> bool:
    """Whether the action pauses until fewer jobs wait."""
    if action.kind != BulkAction.Kind.RUN_AGAIN:
        return False
    pending = Job.objects.active().filter(queue__in=_BACKGROUND, status=Job.Status.PENDING).order_by()
    return pending[MOST_WAITING : MOST_WAITING + 1].exists()


def _work(action_id: int, deadline: float) -> bool:
    """Return whether there is more work to do now."""
    action = BulkAction.objects.running().select_related("user").filter(pk=action_id).first()
    if action is None:
        return False
    if action.user is None or not (action.user.is_staff and action.user.has_perm(action.permission)):
        _end_running(action_id, BulkAction.State.STOPPED, "its user no longer has the permission")
        return False
    jobs = job_list().matching_jobs(action.filters, action.user).prefetch_related(None)
    while True:
        if is_waiting(action):
            BulkAction.objects.running().filter(pk=action_id).update(next_at=timezone.now() + WAIT_FOR_ROOM)
            return False
        batch = list(_after(action, jobs)[:JOBS_PER_BATCH])
        taken = _take(action, batch)
        crash_point("batch")
        if taken is None or taken.finished_at is not None:
            return False
        if time.monotonic() > deadline:
            return True
        action = taken
        time.sleep(PAUSE_BETWEEN_BATCHES)


def _after(action: BulkAction, jobs: QuerySet[Job]) -> QuerySet[Job]:
    """The remaining jobs, in the order of the action."""
    left = jobs.filter(created_at__lte=action.reached_at or action.created_at)
    if action.reached_at is not None:
        left = left.exclude(created_at=action.reached_at, pk__gte=action.reached_id)
    return left.order_by("-created_at", "-pk")


def _take(action: BulkAction, batch: list[Job]) -> BulkAction | None:
    """Process a batch, and save the progress with it. None if another process did, or the action has ended."""
    with transaction.atomic():
        same_place = BulkAction.objects.running().filter(pk=action.pk, reached_id=action.reached_id)
        running = same_place.select_related("user").select_for_update(of=("self",)).first()
        if running is None:
            return None
        changed = change(running, batch)
        crash_point("changed")
        running.done += changed.done
        running.skipped += changed.skipped.total()
        running.reasons = dict(Counter(running.reasons) + changed.skipped)
        running.next_at = timezone.now() + RESEND_AFTER
        if batch:
            running.reached_at, running.reached_id = batch[-1].created_at, batch[-1].pk
        running.save()
        if len(batch) < JOBS_PER_BATCH:
            _end(running, BulkAction.State.COMPLETED, "", running.user)
    return running


def _end_running(action_id: int, state: BulkAction.State, error: str, by: User | None = None) -> bool:
    """End the action if it is running. Return whether it was running."""
    with transaction.atomic():
        running = BulkAction.objects.running().select_for_update().filter(pk=action_id).first()
        if running is None:
            return False
        _end(running, state, error, by or running.user)
    return True


def _end(action: BulkAction, state: BulkAction.State, error: str, by: User | None) -> None:
    """End a locked action, in a transaction. The log gets one entry for all its jobs."""
    action.end(state, timezone.now(), error)
    action.save()
    said = describe(action)
    if by is not None:
        job_list().log_end(action, by, said)
    logger.info("bulk action %s: %s", action.pk, said)


def describe(action: BulkAction) -> str:
    """`Cancel, completed: 1,200 jobs done, 3 skipped (3 completed); filters: status is queued.`"""
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in Counter(action.reasons).most_common(3))
    skipped = f"{action.skipped:,} skipped" + (f" ({reasons})" if reasons else "")
    which = "; ".join(job_list().describe_filters(action.filters)) or "all jobs"
    ended = f"{action.state}, {action.error}" if action.error else action.state
    return f"{action.what}, {ended}: {action.done:,} jobs done, {skipped}; filters: {which}."
