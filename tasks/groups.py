"""Keeps together what one user asked for at once, so that it can be followed to its end."""

from django.contrib.auth.models import User
from django.db import transaction

from tasks.enqueue import EnqueueResult
from tasks.models import JobGroup


def group_jobs(what: str, requested: EnqueueResult, user: User) -> JobGroup:
    """Keep the jobs together that `user` made or joined; `what` is what was asked for."""
    with transaction.atomic():
        group = JobGroup.objects.create(user=user, what=" ".join(what.split()))  # it is a mail's subject
        group.jobs.add(*requested.jobs)
    return group
