"""Works bulk actions off: in batches with a transaction each, which nobody has to wait for.

A message, at the lowest priority of all, has a worker go on for a few seconds, and then sends the next one. Where no
broker takes it, this process does the work. What dies on the way is gone on with by the sweeper, from the last batch.
"""

import logging
import time
from collections import Counter
from datetime import timedelta
from functools import partial

from django.conf import settings
from django.contrib.auth.models import User
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from tasks.bulk.changes import change
from tasks.bulk.selection import BrokenFilters, job_list
from tasks.delivery import broker, direct
from tasks.models import BulkAction, Job
from tasks.priority import BANDS
from tasks.state.crash_points import crash_point

logger = logging.getLogger(__name__)

TASK = "stockqueue.bulk_action"
BATCH = 200
"""Jobs of one transaction."""
PAUSE = 0.12
"""Seconds between two batches. On SQLite nobody else can write during one, and who waits tries again after 0.1 s."""
SLICE = 5.0
"""Seconds that a worker goes on before it lets other work come first."""
PATIENCE = timedelta(seconds=30)
"""A message that nobody took by then is dropped, and another one is sent."""
MOST_WAITING = 2_000
"""No job runs again while more than these wait: each turn looks through those whose users have no room."""
WAIT = timedelta(seconds=5)
"""How long it leaves them alone."""

_BACKGROUND = (Job.Queue.BACKGROUND_FETCH, Job.Queue.BACKGROUND_ANALYSIS)


def begin(
    kind: BulkAction.Kind, filters: str, user: User, matched: int, priority: int | None = None
) -> tuple[BulkAction, bool]:
    """Have an action done to all jobs that match. The one that does so already, where there is one; and if it is new.

    `filters` are as `tasks.bulk.selection` has them; `matched` is told to people.
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
                "next_at": now + PATIENCE,
            },
        )
        if is_new:
            logger.info("bulk action %s: %s of all jobs with %r, for %s", action.pk, kind, filters, user)
            transaction.on_commit(partial(hand_over, action.pk), robust=True)
    return action, is_new


def stop(action: BulkAction, user: User) -> bool:
    """Stop it after the batch that is being done; whether it was still running."""
    return _end_running(action.pk, BulkAction.State.STOPPED, f"stopped by {user}", user)


def go_on() -> None:
    """Send those again of which nothing was heard for a while. The sweeper calls this."""
    now = timezone.now()
    for pk in BulkAction.objects.running().filter(next_at__lte=now).values_list("pk", flat=True):
        # Of two sweepers, one sends it.
        if BulkAction.objects.running().filter(pk=pk, next_at__lte=now).update(next_at=now + PATIENCE):
            hand_over(pk)


def hand_over(action_id: int) -> bool:
    """Have a worker, or else this process, go on with an action; if nobody can, the sweeper tries again."""
    here = partial(direct.process_in_background, partial(work, action_id))
    if settings.JOB_PROCESSOR.queue.backend == "direct" and direct.may_stand_in():
        return here()
    queue = Job.Queue.BACKGROUND_ANALYSIS
    lowest, expires = BANDS[queue][-1], PATIENCE.total_seconds()
    return broker.publish_task(TASK, action_id, queue=queue, priority=lowest, expires=expires) or here()


def work(action_id: int) -> None:
    """Go on with an action for SLICE seconds, or until it ends. Safe to run twice at once: one of the two leaves."""
    try:
        if _work(action_id, time.monotonic() + SLICE):
            hand_over(action_id)
    except (InterfaceError, OperationalError) as error:
        logger.warning("bulk action %s: %s; the sweeper goes on", action_id, str(error).partition("\n")[0])
        connection.close()
    except Exception as error:
        if not isinstance(error, BrokenFilters):
            logger.exception("bulk action %s", action_id)
        _end_running(action_id, BulkAction.State.FAILED, str(error) or type(error).__name__)


def is_waiting(action: BulkAction) -> bool:
    """Whether it goes on only when fewer jobs wait."""
    if action.kind != BulkAction.Kind.RUN_AGAIN:
        return False
    pending = Job.objects.active().filter(queue__in=_BACKGROUND, status=Job.Status.PENDING).order_by()
    return pending[MOST_WAITING : MOST_WAITING + 1].exists()


def _work(action_id: int, deadline: float) -> bool:
    """Whether there is more to do, now."""
    action = BulkAction.objects.running().select_related("user").filter(pk=action_id).first()
    if action is None:
        return False
    if action.user is None or not (action.user.is_staff and action.user.has_perm(action.permission)):
        _end_running(action_id, BulkAction.State.STOPPED, "its user may not do this any more")
        return False
    jobs = job_list().matching_jobs(action.filters, action.user).prefetch_related(None)
    while True:
        if is_waiting(action):
            BulkAction.objects.running().filter(pk=action_id).update(next_at=timezone.now() + WAIT)
            return False
        batch = list(_after(action, jobs)[:BATCH])
        taken = _take(action, batch)
        crash_point("batch")
        if taken is None or taken.finished_at is not None:
            return False
        if time.monotonic() > deadline:
            return True
        action = taken
        time.sleep(PAUSE)


def _after(action: BulkAction, jobs: QuerySet[Job]) -> QuerySet[Job]:
    """Those that are still to be looked at, in their order."""
    left = jobs.filter(created_at__lte=action.reached_at or action.created_at)
    if action.reached_at is not None:
        left = left.exclude(created_at=action.reached_at, pk__gte=action.reached_id)
    return left.order_by("-created_at", "-pk")


def _take(action: BulkAction, batch: list[Job]) -> BulkAction | None:
    """Do a batch, and note how far it is, together; None where somebody else did, or the action has ended."""
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
        running.next_at = timezone.now() + PATIENCE
        if batch:
            running.reached_at, running.reached_id = batch[-1].created_at, batch[-1].pk
        running.save()
        if len(batch) < BATCH:
            _end(running, BulkAction.State.COMPLETED, "", running.user)
    return running


def _end_running(action_id: int, state: BulkAction.State, error: str, by: User | None = None) -> bool:
    """End it if it is running; whether it was."""
    with transaction.atomic():
        running = BulkAction.objects.running().select_for_update().filter(pk=action_id).first()
        if running is None:
            return False
        _end(running, state, error, by or running.user)
    return True


def _end(action: BulkAction, state: BulkAction.State, error: str, by: User | None) -> None:
    """In a transaction: end an action that is locked. The log has one entry for all its jobs."""
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
