"""The filters of bulk actions. The room with the list of jobs registers functions that read filters."""

from collections.abc import Callable
from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db.models import QuerySet

from tasks.models import BulkAction, Job


class BrokenFilters(Exception):
    """The list of jobs does not understand the filters of a bulk action."""


@dataclass(frozen=True)
class JobList:
    """What bulk actions need of a list of jobs. Filters are text, as in the list's address."""

    matching_jobs: Callable[[str, User], QuerySet[Job]]
    """All jobs that the user sees under the filters. BrokenFilters."""
    describe_filters: Callable[[str], list[str]]
    """Each filter in words; empty without filters."""
    log_end: Callable[[BulkAction, User, str], None]
    """Write to the log of what users did that the user's action has ended. In a transaction."""


_registered: JobList | None = None


def register(job_list: JobList) -> None:
    global _registered
    _registered = job_list


def job_list() -> JobList:
    """The registered list of jobs. RuntimeError without one."""
    if _registered is None:
        raise RuntimeError("no list of jobs is registered with tasks.bulk.selection")
    return _registered
