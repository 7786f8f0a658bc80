from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

from django.core.management.base import CommandError
from django.db.models import Exists, OuterRef

from market.symbols import InvalidSymbol, parse_symbol
from tasks import control
from tasks.management.jobs import ShellCommand, bad_argument, describe, find_jobs, finish_here
from tasks.models import Job

MOST_RERUNS = 1_000
"""The most jobs that one command reruns."""


class Command(ShellCommand):
    help = (
        "Rerun ended jobs, each as a new job or by joining an active job for the same work. Name jobs by id, or "
        "select them with --failed. Exit code 0; 1 if a job has not ended (the others are rerun); "
        "2 for bad arguments."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("ids", nargs="*", metavar="ID", help="a job's id, a UUID")
        parser.add_argument(
            "--failed",
            action="store_true",
            help=f"failed jobs without a newer job for the same work, at most the newest {MOST_RERUNS:,}",
        )
        parser.add_argument("--symbol", help="with --failed: only jobs of this stock")

    def handle(self, *args: Any, ids: Sequence[str], failed: bool, symbol: str | None, **options: Any) -> None:
        if bool(ids) == failed:
            raise bad_argument("name jobs by id, or select failed jobs with --failed")
        if symbol and not failed:
            raise bad_argument(f"--symbol {symbol} needs --failed; add --failed or omit --symbol")
        jobs = _failed_jobs(symbol) if failed else find_jobs(ids)
        if not jobs:
            self.stdout.write("No failed job.")
        left = []
        for job in jobs:
            try:
                again = control.rerun([job], None)
            except control.NotPossible as reason:
                left.append(str(reason))
                continue
            what = "new" if again.created else "joined"
            for now in find_jobs(str(new.pk) for new in again.jobs):
                self.stdout.write(f"{what}  {describe(now)}")
        if failed and len(jobs) == MOST_RERUNS:
            self.stdout.write(f"Only the newest {MOST_RERUNS:,} failed jobs were selected; there may be more.")
        finish_here(self)
        if left:
            raise CommandError("; ".join(left))


def _failed_jobs(symbol: str | None) -> list[Job]:
    """The newest failed jobs, without jobs already rerun."""
    same = Job.objects.filter(symbol=OuterRef("symbol"), unique_key=OuterRef("unique_key"))
    newer = same.filter(created_at__gt=OuterRef("created_at"))
    failed = Job.objects.filter(~Exists(newer), status=Job.Status.FAILED)
    if symbol:
        try:
            failed = failed.filter(symbol=parse_symbol(symbol))
        except InvalidSymbol as error:
            raise bad_argument(str(error)) from None
    return list(failed.order_by("-created_at")[:MOST_RERUNS])
