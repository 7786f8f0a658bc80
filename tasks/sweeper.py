"""Sends what the broker did not take when it was asked to."""

from datetime import timedelta

from django.db.models import Q
from django.utils import timezone

from tasks.dispatch import dispatch
from tasks.models import Job

SETTLING = timedelta(seconds=5)
"""A job younger than this is left to the process that made it."""

SWEEP_SIZE = 1_000


def sweep() -> int:
    """Dispatch the pending jobs that are due, the most urgent and oldest first; how many the broker took."""
    now = timezone.now()
    due = Job.objects.filter(
        Q(run_at=None) | Q(run_at__lte=now), status=Job.Status.PENDING, created_at__lte=now - SETTLING
    )
    return dispatch(list(due.order_by("priority", "created_at").values_list("pk", flat=True)[:SWEEP_SIZE]))
