"""The interface of handlers, the functions that do the work of jobs.

The work has two parts. The slow part runs without a transaction, and returns a function. The function writes the
effect in the transaction that ends the job: a job's effect and end are committed together or not at all. A handler
with nothing left to write returns the JobResult itself.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from pydantic import BaseModel, ValidationError

from tasks.models import Job


class JobResult(NamedTuple):
    """The outcome and the result of a completed job."""

    outcome: Job.Outcome
    result: dict[str, Any]


Store = Callable[[], JobResult]
"""Writes the effect."""
Handler = Callable[[Job], Store | JobResult]
"""Does the slow part of a job. Raises JobError."""


class Part(NamedTuple):
    """Jobs of a cohort whose slow part is over, and the function that writes their effects.

    `store` gets the jobs that are still claimed, in the same order, and returns a result for each. It may raise
    JobError or JobSnoozed for all of its jobs. After any other error, it is called again for each job alone.
    """

    jobs: Sequence[Job]
    store: Callable[[Sequence[Job]], Sequence[JobResult]]


CohortHandler = Callable[[Sequence[Job]], Iterator[Part]]
"""Does the slow part of the jobs of a cohort, and yields each job in one Part as soon as its effect can be written."""

_Parameters = TypeVar("_Parameters", bound=BaseModel)


class JobError(Exception):
    """The attempt failed; the message is the job's error.

    `retryable`: another attempt may succeed. `effect` is written in the transaction that ends the job as failed.
    """

    def __init__(self, message: str, *, retryable: bool = False, effect: Callable[[], object] = lambda: None) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.effect = effect


class JobSnoozed(Exception):
    """The work has to wait until `until`, without a failure. The message names what the job waits for.

    `waits_for`: the job whose end ends the wait earlier.
    """

    def __init__(self, message: str, until: datetime, waits_for: UUID | None = None) -> None:
        super().__init__(message)
        self.until = until
        self.waits_for = waits_for


def read_parameters(model: type[_Parameters], job: Job) -> _Parameters:
    """A job's checked parameters. JobError names the first wrong parameter, its value and the expected value."""
    try:
        return model.model_validate(job.parameters)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(("parameters", *map(str, first["loc"])))
        given = "" if first["type"] == "missing" else f"{first['input']!r}: "
        raise JobError(f"{key}: {given[:100]}{first['msg']}") from None
