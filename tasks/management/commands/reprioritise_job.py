from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from tasks import control
from tasks.management.jobs import BY, ShellCommand, bad_argument, describe, find_jobs, finish_here
from tasks.models import Job


class Command(ShellCommand):
    help = (
        "Change the priority of a waiting job, and move the job to the queue of that priority. 1 is the most urgent, "
        "10 the least: 1 to 3 are foreground, 4 to 6 background_fetch, 7 to 10 background_analysis. Exit code 0; 1 if "
        "the job is not waiting, or its type is not allowed in that queue; 2 for bad arguments."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("id", metavar="ID", help="job id, a UUID")
        parser.add_argument("priority", metavar="PRIORITY", help="1 to 10")

    def handle(self, *args: Any, id: str, priority: str, **options: Any) -> None:
        text = str(priority)
        if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 10):
            raise bad_argument(f"priority {text} is not a number from 1 to 10")
        (job,) = find_jobs([id])
        try:
            changed = control.reprioritise([job.pk], int(text), BY)
        except control.NotPossible as reason:
            raise CommandError(str(reason)) from None
        finally:
            finish_here(self)
        (job,) = find_jobs([id])
        if not changed and job.status not in Job.WAITING:
            raise CommandError(f"job {job.pk} is {job.status}; only the priority of a waiting job can be changed")
        self.stdout.write(describe(job))
