"""The table of job types: what the engine has to know about each. The room that does a type's work adds its entry."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from django.conf import settings

from tasks.models import Job
from tasks.running.handlers import Handler


class RetryRule(NamedTuple):
    """How often a failed job is tried again, and the seconds before each retry; the last delay holds for the rest."""

    most: int
    delays: Sequence[float]


class Place(NamedTuple):
    """Where a kind of work comes among those of its type: 1 is the most urgent."""

    kind: str
    number: int


def configured_retries() -> RetryRule:
    """The retry rule of types that have none of their own."""
    jobs = settings.JOB_PROCESSOR.jobs
    return RetryRule(jobs.max_retries, (jobs.retry_delay,))


def _no_place(_parameters: Mapping[str, Any]) -> None:
    return None


def _describe_progress(facts: Mapping[str, Any]) -> str:
    return f"{facts.get('done')} of {facts.get('total')}"


@dataclass(frozen=True)
class JobType:
    """One type of job. What depends on the configuration is a function, so that the current one counts."""

    handler: Handler
    """Does the work."""
    queues: tuple[Job.Queue, ...]
    """Where its jobs can be, the most urgent queue first."""
    time_limit: Callable[[], float]
    """Seconds that one attempt may take."""
    logger: logging.Logger
    """Has the lines that workers write about its jobs."""
    describe_result: Callable[[Mapping[str, Any]], str]
    """A completed job's result in words."""
    describe_progress: Callable[[Mapping[str, Any]], str] = _describe_progress
    """A `progress` event in words."""
    retries: Callable[[], RetryRule] = configured_retries
    place: Callable[[Mapping[str, Any]], Place | None] = _no_place
    """From a job's parameters. None: its jobs are all as urgent as their trigger's rule says."""


_table: dict[str, JobType] = {}
_aliases: dict[str, tuple[Job.Queue, ...]] = {}


def register(types: Mapping[str, JobType], *, aliases: Mapping[str, tuple[Job.Queue, ...]] | None = None) -> None:
    """Add entries to the table. `aliases` are further names that `worker.supported_job_types` may have."""
    _table.update(types)
    _aliases.update(aliases or {})


def handles(job_type: Job.Type) -> Callable[[Handler], Handler]:
    """Decorates a function that does the jobs of a type in place of its handler; the last one counts."""

    def put_in_place(handler: Handler) -> Handler:
        _table[job_type] = replace(_table[job_type], handler=handler)
        return handler

    return put_in_place


def find(job_type: str) -> JobType:
    """The entry of a type. KeyError where no room has added one."""
    return _table[job_type]


def queues_of(name: str) -> tuple[Job.Queue, ...]:
    """The queues that jobs of a type can be in; `name` as in `worker.supported_job_types`."""
    return _aliases[name] if name in _aliases else find(name).queues


def time_limit(job_type: str) -> int:
    """Seconds that one attempt at a job of this type may take."""
    return int(find(job_type).time_limit())
