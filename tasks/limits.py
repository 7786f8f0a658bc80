"""Limits shared by jobs, such as the rate limit of a source. Apps add their limits to the table.

Admission leaves jobs pending while their limit allows no request, so that these jobs need no attempt to find out.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import NamedTuple

from tasks.models import Job


class Left(NamedTuple):
    """What a limit allows now."""

    requests: int
    a_minute: int
    """The requests that it allows to these jobs in a minute."""
    cause: str = ""
    """What a job waits for if no request is left, such as "Yahoo Finance's rate limit"."""
    until: datetime | None = None
    """When requests may be left again."""


Limit = Callable[[Job.Queue], Callable[[int], Left] | None]
"""Reads what is left, and returns what a limit leaves to the jobs of a queue with a priority; None without a limit.

So the number of queries does not depend on the number of priorities.
"""

_table: dict[str, Limit] = {}


def register(limits: Mapping[str, Limit]) -> None:
    """Add limits to the table. The names are those of `JobType.limited_by`."""
    _table.update(limits)


def find(name: str, queue: str) -> Callable[[int], Left] | None:
    """What a limit leaves to the jobs of a queue with a priority; None if no limit applies."""
    limit = _table.get(name)
    return None if limit is None else limit(Job.Queue(queue))
