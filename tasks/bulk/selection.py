"""The filters of bulk actions. The app with the list of jobs registers the functions that read filters."""

from collections.abc import Callable
from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db.models import QuerySet

from tasks.models import BulkAction, Job


class BrokenFilters(Exception):
    """The list of jobs cannot read the filters of a bulk action."""


@dataclass(frozen=True)
class JobList:
    """The functions of a list of jobs for bulk actions. Filters are text, as in the list's address."""

    matching_jobs: Callable[[str, User], QuerySet[Job]]
    """Return all jobs that the user sees under the filters. Raise BrokenFilters."""
    describe_filters: Callable[[str], list[str]]
    """Put each filter into words; empty without filters."""
    log_end: Callable[[BulkAction, User, str], None]
    """Record the end of a user's action in the log of user actions. In a transaction."""


_registered: JobList | None = None


def register(job_list: JobList) -> None:
    global _registered
    _registered = job_list


def job_list() -> JobList:
    """The registered list of jobs. Raise RuntimeError if there is none."""
    if _registered is None:
        raise RuntimeError("no list of jobs is registered with tasks.bulk.selection")
    return _registered
