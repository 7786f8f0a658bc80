from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

from django.core.management.base import CommandError

from tasks import control
from tasks.management.jobs import BY, ShellCommand, describe, find_jobs, finish_here


class Command(ShellCommand):
    help = (
        "Cancel active jobs. The results of running jobs are not stored. Exit code 0; 1 if a job had already ended "
        "(the other jobs are cancelled); 2 for a malformed or unknown id."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("ids", nargs="+", metavar="ID", help="job id, a UUID")

    def handle(self, *args: Any, ids: Sequence[str], **options: Any) -> None:
        jobs = find_jobs(ids)
        cancelled = {job.pk for job in control.cancel([job.pk for job in jobs], BY)}
        left = []
        for job in find_jobs(ids):
            if job.pk in cancelled:
                self.stdout.write(describe(job))
            else:
                left.append(f"job {job.pk} is {job.status}; only an active job can be cancelled")
        finish_here(self)
        if left:
            raise CommandError("; ".join(left))
