"""The table of job types. The apps with the handlers add the entries; the engine reads them."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from django.conf import settings

from tasks.models import Job
from tasks.running.handlers import CohortHandler, Handler


class RetryRule(NamedTuple):
    """How many retries a failed job has, and the seconds before each retry. The last delay repeats."""

    most: int
    delays: Sequence[float]


class Place(NamedTuple):
    """The urgency of a kind of work among the kinds of its job type: 1 is the most urgent."""

    kind: str
    number: int


@dataclass(frozen=True)
class Cohorts:
    """How the jobs of a type are done together: a worker claims several of them at once."""

    size: Callable[[], int]
    """The most jobs of a cohort."""
    includes: Callable[[Mapping[str, Any]], bool]
    """Whether a job with these parameters can be part of a cohort."""
    handler: CohortHandler
    """Does the work of a cohort."""


def configured_time_limit() -> float:
    """The time limit of job types without an entry in `jobs.timeouts`."""
    return float(settings.JOB_PROCESSOR.worker.max_execution_time)


def configured_retries() -> RetryRule:
    """The retry rule of job types without a rule of their own."""
    jobs = settings.JOB_PROCESSOR.jobs
    return RetryRule(jobs.max_retries, (jobs.retry_delay,))


def _no_limit(_parameters: Mapping[str, Any]) -> str:
    return ""


def _no_place(_parameters: Mapping[str, Any]) -> None:
    return None


def _describe_progress(facts: Mapping[str, Any]) -> str:
    return f"{facts.get('done')} of {facts.get('total')}"


@dataclass(frozen=True)
class JobType:
    """A job type. Functions stand for values from the configuration, so that the current configuration counts."""

    handler: Handler
    """Does the work."""
    queues: tuple[Job.Queue, ...]
    """The possible queues of its jobs, the most urgent queue first."""
    logger: logging.Logger
    """Logs the lines of workers about its jobs."""
    describe_result: Callable[[Mapping[str, Any]], str]
    """Puts the result of a completed job into words."""
    describe_progress: Callable[[Mapping[str, Any]], str] = _describe_progress
    """Puts a `progress` event into words."""
    time_limit: Callable[[], float] = configured_time_limit
    """The time limit of an attempt in seconds."""
    retries: Callable[[], RetryRule] = configured_retries
    place: Callable[[Mapping[str, Any]], Place | None] = _no_place
    """Reads the place from a job's parameters. None: the trigger's rule alone decides the priority."""
    limited_by: Callable[[Mapping[str, Any]], str] = _no_limit
    """Reads from a job's parameters the name of the limit in `tasks.limits` that its requests count against."""
    cohorts: Cohorts | None = None
    """None: each job is done alone."""


_table: dict[str, JobType] = {}
_aliases: dict[str, tuple[Job.Queue, ...]] = {}


def register(types: Mapping[str, JobType], *, aliases: Mapping[str, tuple[Job.Queue, ...]] | None = None) -> None:
    """Add entries to the table. `aliases` are further names for `worker.supported_job_types`."""
    _table.update(types)
    _aliases.update(aliases or {})


def handles(job_type: Job.Type) -> Callable[[Handler], Handler]:
    """Decorate a function that replaces the handler of a job type; the last decorated function counts."""

    def put_in_place(handler: Handler) -> Handler:
        _table[job_type] = replace(_table[job_type], handler=handler)
        return handler

    return put_in_place


def find(job_type: str) -> JobType:
    """Return the entry of a job type. Raise KeyError if no app has added an entry."""
    return _table[job_type]


def queues_of(name: str) -> tuple[Job.Queue, ...]:
    """The possible queues of a job type's jobs. `name` is an entry of `worker.supported_job_types`."""
    return _aliases[name] if name in _aliases else find(name).queues


def cohort_of(job_type: str, parameters: Mapping[str, Any]) -> str:
    """The cohort of a job, which is its type; empty if the job is done alone."""
    cohorts = find(job_type).cohorts
    return job_type if cohorts is not None and cohorts.includes(parameters) else ""


def cohort_size(cohort: str) -> int:
    """The most jobs that a worker claims together; 1 for jobs that are done alone."""
    cohorts = _table[cohort].cohorts if cohort in _table else None
    return 1 if cohorts is None else max(1, cohorts.size())


def largest_cohort() -> int:
    """The most jobs of any cohort."""
    return max(map(cohort_size, _table), default=1)


def time_limit(job_type: str) -> int:
    """The time limit of an attempt at a job of this type, in seconds."""
    return int(find(job_type).time_limit())
