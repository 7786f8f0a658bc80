import json
import re
from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from tasks.management.jobs import ShellCommand
from tasks.upkeep import retention
from tasks.upkeep.retention import Cleanup

MOST_DAYS = 36_500


class Command(ShellCommand):
    help = (
        "Delete old rows: jobs that ended before --days, with their events, requests and groups; schedule runs, bulk "
        "actions, task results and analyses of the same age; workers that ended more than a day ago; chart data older "
        "than a week. Jobs with unpublished events are kept, and so is the newest analysis of each stock and kind. "
        "Beat runs the same cleanup every night."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--days", type=_read_days, help="days to keep ended rows (default: jobs.cleanup_after_days)"
        )
        parser.add_argument("--dry-run", action="store_true", help="show what would be deleted, and delete nothing")
        parser.add_argument("--json", action="store_true", help="print the counts as one JSON object")

    def handle(self, *args: Any, days: int | None, dry_run: bool, **options: Any) -> None:
        before = retention.cutoff(days)
        cleanup = retention.preview(before) if dry_run else retention.clean_up(before)
        if options["json"]:
            told = {"before": before.isoformat(), "dry_run": dry_run, **cleanup.counts(), "kept": cleanup.kept}
            self.stdout.write(json.dumps(told, indent=2))
            return
        done = "Would delete" if dry_run else "Deleted"
        self.stdout.write(f"{done} rows that ended before {before:%Y-%m-%d %H:%M} UTC: {_describe(cleanup)}.")
        if cleanup.kept:
            self.stdout.write(f"Old jobs kept because their events are not published yet: {cleanup.kept}.")


def _describe(cleanup: Cleanup) -> str:
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in cleanup.counts().items())


def _read_days(text: str) -> int:
    if re.fullmatch("[0-9]{1,5}", text) and 1 <= int(text) <= MOST_DAYS:
        return int(text)
    raise ArgumentTypeError(f"{text!r} is not a number of days from 1 to {MOST_DAYS}")
