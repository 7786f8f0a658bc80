"""Groups of jobs: all jobs of one request by a user, for following the request to its end."""

from django.contrib.auth.models import User
from django.db import transaction

from tasks.enqueue import EnqueueResult
from tasks.models import JobGroup


def group_jobs(what: str, requested: EnqueueResult, user: User) -> JobGroup:
    """Create a group of the jobs that `user` created or joined; `what` describes the request."""
    with transaction.atomic():
        group = JobGroup.objects.create(user=user, what=" ".join(what.split()))  # the subject of a mail
        group.jobs.add(*requested.jobs)
    return group
