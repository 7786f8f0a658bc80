from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

from django.core.management.base import CommandError

from tasks import control
from tasks.management.jobs import BY, ShellCommand, describe, find_jobs, finish_here


class Command(ShellCommand):
    help = (
        "Cancel jobs that have not ended; what a worker is doing for one is not stored any more. Exit code 0; 1 when "
        "one had ended (the others are cancelled); 2 for an id that is malformed or unknown."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("ids", nargs="+", metavar="ID", help="a job's id, a UUID")

    def handle(self, *args: Any, ids: Sequence[str], **options: Any) -> None:
        jobs = find_jobs(ids)
        cancelled = {job.pk for job in control.cancel([job.pk for job in jobs], BY)}
        left = []
        for job in find_jobs(ids):
            if job.pk in cancelled:
                self.stdout.write(describe(job))
            else:
                left.append(f"job {job.pk} is {job.status}; only a job that has not ended can be cancelled")
        finish_here(self)
        if left:
            raise CommandError("; ".join(left))
