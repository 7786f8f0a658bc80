from typing import Any

from portfolio.fetching import fetch_scheduled
from tasks.management.jobs import ShellCommand, describe, find_jobs, finish_here


class Command(ShellCommand):
    help = (
        "Enqueue fetches of every stale stock that an active user holds, as stock_batch_fetch jobs. For cron, as in "
        "`0 9 * * 1-5`. Beat does the same by itself; a stock with an active fetch is not fetched twice."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        requested = fetch_scheduled()
        self.stdout.write(f"Scheduled portfolio update: {requested}.")
        for job in find_jobs(str(job.pk) for job in requested.jobs):
            self.stdout.write(describe(job))
        finish_here(self)
