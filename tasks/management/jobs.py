"""Shared functions of the commands about jobs: find jobs, show them, and wait for directly processed jobs."""

from argparse import ArgumentParser
from collections.abc import Iterable
from typing import Any, NoReturn
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tasks.delivery import direct
from tasks.models import Job

BY = "the command line"
"""The actor in reasons and errors."""
LONGEST_WORK = 3_600.0
"""The longest time in seconds that a command waits for jobs of its own process."""


class ShellCommand(BaseCommand):
    """A command that reports bad arguments in a single line, without its usage, and exits 2."""

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        if parser.called_from_command_line:
            parser.error = lambda message: _refuse(parser, message)  # type: ignore[method-assign]
        return parser


def _refuse(parser: ArgumentParser, message: str) -> NoReturn:
    parser.exit(2, f"{parser.prog}: {message}; see --help\n")


def bad_argument(message: str) -> CommandError:
    """An error in a single line, with exit code 2."""
    return CommandError(message, returncode=2)


def find_jobs(ids: Iterable[str]) -> list[Job]:
    """The jobs with these ids, in the given order, without duplicates. A malformed or unknown id is a bad argument."""
    wanted = list(dict.fromkeys(_parse_id(text) for text in ids))
    found = Job.objects.prefetch_related(Job.REQUESTERS).in_bulk(wanted)
    if missing := [str(job_id) for job_id in wanted if job_id not in found]:
        raise bad_argument(f"no job has the id {', '.join(missing)}")
    return [found[job_id] for job_id in wanted]


def _parse_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise bad_argument(f"{text!r} is not a job's id, such as 0b62a5ac-91a6-4c2f-8f64-5a0d3d3a2a11") from None


def describe(job: Job) -> str:
    """A line about a job: `AAPL: queued, priority 3 in foreground, requested by demo (id …)`."""
    names = ", ".join(job.requesters())
    return f"{job.subject}: {job.status}, priority {job.priority} in {job.queue}, requested by {names} (id {job.pk})"


def as_json(job: Job) -> dict[str, Any]:
    """A job for programs; moments are ISO 8601 in UTC."""
    moments = ("created_at", "queued_at", "started_at", "finished_at", "run_at")
    names = ("job_type", "symbol", "trigger", "priority", "queue", "status", "attempt", "outcome", "error", "result")
    return {
        "id": str(job.pk),
        **{name: getattr(job, name) for name in names},
        "parameters": job.parameters,
        "requesters": job.requesters(),
        **{name: moment and moment.isoformat() for name in moments for moment in [getattr(job, name)]},
    }


def finish_here(command: BaseCommand) -> None:
    """Wait for the directly processed jobs of this process: they would end with the command."""
    if direct.wait_until_idle(0):
        return
    command.stderr.write("No broker accepts jobs: this process runs them, and exits when they have ended.")
    if not direct.wait_until_idle(LONGEST_WORK):
        raise CommandError(f"the jobs of this process have not ended after {LONGEST_WORK:.0f} s")
