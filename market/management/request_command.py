"""The base of commands that request a job of each stock: their arguments, and waiting for the jobs."""

import json
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from django.core.management.base import CommandError
from django.db import transaction

from market.models import Stock
from market.symbols import InvalidSymbol, parse_symbol
from tasks.describe import describe_end
from tasks.enqueue import EnqueueResult
from tasks.management.jobs import ShellCommand, as_json, bad_argument, describe, finish_here
from tasks.models import Job

DEFAULT_TIMEOUT = 600.0
LONGEST_TIMEOUT = 86_400.0
POLL_EVERY = 0.2


class Asked(NamedTuple):
    """The arguments common to the commands. `patience` is in seconds."""

    symbols: list[str]
    trigger: Job.Trigger
    patience: float
    wait: bool
    as_data: bool


class RequestCommand(ShellCommand):
    """A command that requests a job of each SYMBOL."""

    def add_request_arguments(self, parser: ArgumentParser, *, symbols: str = "+") -> None:
        parser.add_argument(
            "symbols", nargs=symbols, metavar="SYMBOL", help="symbol at Yahoo Finance, such as AAPL or BRK-B"
        )
        parser.add_argument(
            "--trigger",
            metavar="T",
            default=Job.Trigger.USER_REQUEST.value,
            help=f"trigger of the jobs: {', '.join(Job.Trigger.values)} (default: %(default)s)",
        )
        parser.add_argument(
            "--wait", action="store_true", help="wait until all jobs have ended, and print each result"
        )
        parser.add_argument(
            "--timeout", metavar="SECONDS", help=f"time limit of --wait in seconds (default: {DEFAULT_TIMEOUT:.0f})"
        )
        parser.add_argument("--json", action="store_true", help="print only a JSON list of the jobs, at the end")

    def ask(self, asked: Asked, request: Callable[[list[Stock]], EnqueueResult]) -> None:
        """Request the jobs, print them, and wait with --wait. Unknown stocks are created."""
        try:
            with transaction.atomic():
                requested = request(Stock.objects.find_or_create(asked.symbols))
            jobs = [job.pk for job in requested.jobs]
            if not asked.as_data:
                joined = {job.pk for job in requested.joined}
                for job in _read(jobs):
                    self.stdout.write(f"{'joined' if job.pk in joined else 'new'}  {describe(job)}")
                self.stdout.flush()
            left = self._show_ends(jobs, asked.patience, quiet=asked.as_data) if asked.wait else []
        except KeyboardInterrupt:
            raise CommandError("stopped waiting; the jobs continue", returncode=130) from None
        finally:
            finish_here(self)
        self._judge(jobs, left, asked)

    def _show_ends(self, jobs: Sequence[UUID], patience: float, *, quiet: bool) -> list[UUID]:
        """Print the end of each job as it happens; returns the jobs that have not ended in time."""
        left = list(jobs)
        deadline = time.monotonic() + patience
        while left:
            ended = [job for job in _read(left) if job.status not in Job.ACTIVE]
            for job in ended:
                left.remove(job.pk)
                if not quiet:
                    self.stdout.write(f"{job.subject}: {describe_end(job)}")
            self.stdout.flush()
            pause = min(POLL_EVERY, deadline - time.monotonic())
            if pause <= 0:
                break
            if left:
                time.sleep(pause)
        return left

    def _judge(self, jobs: Sequence[UUID], left: Sequence[UUID], asked: Asked) -> None:
        """Print the JSON, and exit with code 1 if a job failed or is late."""
        now = _read(jobs)
        if asked.as_data:
            self.stdout.write(json.dumps([as_json(job) for job in now], indent=2))
        if not asked.wait:
            return
        late = ", ".join(f"{job.subject} is {job.status}" for job in now if job.pk in left)
        bad = [job for job in now if job.status in Job.UNSUCCESSFUL]
        faults = [f"{len(bad)} of {len(now)} jobs did not succeed"] if bad else []
        faults += [f"not ended after {asked.patience:g} s: {late}"] if late else []
        if faults:
            raise CommandError("; ".join(faults))


def parse_asked(symbols: Iterable[str], options: Mapping[str, Any]) -> Asked:
    """Parse the common arguments. An error names the bad argument."""
    wait = options["wait"]
    trigger, patience = _parse_trigger(options["trigger"]), _parse_patience(options["timeout"], wait=wait)
    return Asked(_parse_symbols(symbols), trigger, patience, wait, options["json"])


def _parse_trigger(text: str) -> Job.Trigger:
    try:
        return Job.Trigger(text)
    except ValueError:
        raise bad_argument(f"--trigger {text} is not one of {', '.join(Job.Trigger.values)}") from None


def _parse_patience(value: object, *, wait: bool) -> float:
    if value is None:
        return DEFAULT_TIMEOUT
    if not wait:
        raise bad_argument("--timeout needs --wait; add --wait or omit --timeout")
    try:
        patience = float(str(value))
    except ValueError:
        patience = 0.0
    if not 0 < patience <= LONGEST_TIMEOUT:
        raise bad_argument(f"--timeout {value} is not a number of seconds up to {LONGEST_TIMEOUT:.0f}")
    return patience


def _parse_symbols(texts: Iterable[str]) -> list[str]:
    try:
        return list(dict.fromkeys(parse_symbol(text) for text in texts))
    except InvalidSymbol as error:
        raise bad_argument(str(error)) from None


def _read(job_ids: Sequence[UUID]) -> list[Job]:
    """The current rows of the jobs, in the given order."""
    found = Job.objects.prefetch_related(Job.REQUESTERS).in_bulk(job_ids)
    return [found[job_id] for job_id in job_ids if job_id in found]
