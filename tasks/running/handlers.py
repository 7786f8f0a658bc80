"""What the functions have in common that do the work of jobs.

Work is split in two: the slow part runs without a transaction and returns a function, which then writes the effect in
the transaction that ends the job, so that a job's effect and its end are there together or not at all. Where there is
nothing left to write, it returns how the job ends.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from tasks.models import Job


class JobResult(NamedTuple):
    """How a job ends that was done."""

    outcome: Job.Outcome
    result: dict[str, Any]


Store = Callable[[], JobResult]
"""Writes the effect."""
Handler = Callable[[Job], Store | JobResult]
"""Does the slow part of one type's jobs. Raises JobError."""

_Parameters = TypeVar("_Parameters", bound=BaseModel)


class JobError(Exception):
    """The attempt failed; the message is the job's error.

    `retryable`: whether trying again later may help. `effect` is written together with the job's end as failed.
    """

    def __init__(self, message: str, *, retryable: bool = False, effect: Callable[[], object] = lambda: None) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.effect = effect


class JobSnoozed(Exception):
    """Nothing failed, but the work cannot go on before `until`; the message says why."""

    def __init__(self, message: str, until: datetime) -> None:
        super().__init__(message)
        self.until = until


def read_parameters(model: type[_Parameters], job: Job) -> _Parameters:
    """A job's parameters, checked. JobError names the one that does not fit, its value and what was expected."""
    try:
        return model.model_validate(job.parameters)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(("parameters", *map(str, first["loc"])))
        given = "" if first["type"] == "missing" else f"{first['input']!r}: "
        raise JobError(f"{key}: {given[:100]}{first['msg']}") from None
