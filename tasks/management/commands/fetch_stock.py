import json
import time
from argparse import ArgumentParser
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import date
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.core.management.base import CommandError
from django.db import transaction
from django.utils import timezone

from market.models import Stock
from market.symbols import InvalidSymbol, parse_symbol
from tasks.backfill import LONGEST_RANGE_YEARS, InvalidRange, Mode, check_range, preview
from tasks.management.jobs import ShellCommand, as_json, bad_argument, describe, finish_here
from tasks.models import Job
from tasks.requests import Requested, request_fetches
from tasks.wording import describe_end

PATIENCE = 600.0
LONGEST_PATIENCE = 86_400.0
POLL_EVERY = 0.2


class Command(ShellCommand):
    help = (
        "Queue a stock_fetch for each SYMBOL, or join the one that is on its way. Stocks that are not known yet are "
        "created. Exit code 0; 1 when a job failed, expired or was cancelled, or the time was up (with --wait); "
        "2 for bad arguments."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("symbols", nargs="+", metavar="SYMBOL", help="as Yahoo Finance writes it: AAPL, BRK-B")
        parser.add_argument(
            "--start", metavar="D", help=f"first day of a backfill, as 2024-01-31; at most {LONGEST_RANGE_YEARS} years"
        )
        parser.add_argument("--end", metavar="D", help="its last day, included (default: today)")
        parser.add_argument(
            "--mode",
            metavar="M",
            help="of a backfill: update (default: fetch all days), gaps (only where a session is missing), "
            "replace (also remove the bars that the source does not have)",
        )
        parser.add_argument(
            "--preview", action="store_true", help="of a backfill: say what it would cost, and queue nothing"
        )
        parser.add_argument(
            "--trigger",
            metavar="T",
            default=Job.Trigger.USER_REQUEST.value,
            help=f"why: {', '.join(Job.Trigger.values)} (default: user_request)",
        )
        parser.add_argument("--user", metavar="U", help="who asks, and gets a mail when a long backfill has ended")
        parser.add_argument("--wait", action="store_true", help="show each job's end, and wait for the last one")
        parser.add_argument(
            "--timeout", metavar="SECONDS", help=f"the longest that --wait waits (default: {PATIENCE:.0f})"
        )
        parser.add_argument("--json", action="store_true", help="print the jobs as a JSON list instead, at the end")

    def handle(self, *args: Any, symbols: Sequence[str], **options: Any) -> None:
        start, end = parse_range(options["start"], options["end"], timezone.now().date())
        mode = _parse_mode(options["mode"], start)
        trigger = _parse_trigger(options["trigger"])
        wait, as_data = options["wait"], options["json"]
        patience = _parse_patience(options["timeout"], wait=wait)
        user = _find_user(options["user"])
        wanted = _parse_symbols(symbols)
        if options["preview"]:
            self._preview(wanted, start, end, mode, as_data=as_data)
            return
        try:
            requested = _request(wanted, trigger, user, start, end, mode)
            jobs = [job.pk for job in requested.jobs]
            if not as_data:
                joined = {job.pk for job in requested.joined}
                for job in _read(jobs):
                    self.stdout.write(f"{'joined' if job.pk in joined else 'new'}  {describe(job)}")
                self.stdout.flush()
            left = self._show_ends(jobs, patience, quiet=as_data) if wait else []
        except KeyboardInterrupt:
            raise CommandError("stopped waiting; the jobs go on", returncode=130) from None
        finally:
            finish_here(self)
        self._judge(jobs, left, patience, wait=wait, as_data=as_data)

    def _preview(
        self, symbols: Sequence[str], start: date | None, end: date | None, mode: Mode, *, as_data: bool
    ) -> None:
        if start is None:
            raise bad_argument("--preview needs --start: the first day of a backfill")
        known = Stock.objects.in_bulk(symbols, field_name="symbol")
        stocks = [known.get(symbol) or Stock(symbol=symbol) for symbol in symbols]
        cost = preview(stocks, start, end, mode, now=timezone.now())
        if as_data:
            self.stdout.write(json.dumps(asdict(cost), indent=2))
            return
        for symbol, days in cost.missing.items():
            self.stdout.write(f"{symbol}: {_count(days, 'session')} without a bar")
        asked = _count(cost.requests, "request")
        self.stdout.write(f"{asked}, about {cost.minutes:.1f} minutes; nothing is queued")

    def _show_ends(self, jobs: Sequence[UUID], patience: float, *, quiet: bool) -> list[UUID]:
        """Tell each job's end as it comes; those that have not ended in time."""
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

    def _judge(
        self, jobs: Sequence[UUID], left: Sequence[UUID], patience: float, *, wait: bool, as_data: bool
    ) -> None:
        """Print the JSON, and end with exit code 1 where something went wrong."""
        now = _read(jobs)
        if as_data:
            self.stdout.write(json.dumps([as_json(job) for job in now], indent=2))
        if not wait:
            return
        late = ", ".join(f"{job.subject} is {job.status}" for job in now if job.pk in left)
        bad = [job for job in now if job.status in (Job.Status.FAILED, Job.Status.EXPIRED, Job.Status.CANCELLED)]
        faults = [f"{len(bad)} of {len(now)} jobs did not succeed"] if bad else []
        faults += [f"after {patience:g} s {late}"] if late else []
        if faults:
            raise CommandError("; ".join(faults))


def parse_range(start: object, end: object, today: date) -> tuple[date | None, date | None]:
    """The days of a backfill, both included; None, None without one. A bad argument says which day is wrong."""
    first, last = _parse_day("--start", start), _parse_day("--end", end)
    if first is None:
        if last is not None:
            raise bad_argument(f"--end {last} needs --start: the first day of the range")
        return None, None
    try:
        check_range(first, last, today)
    except InvalidRange as error:
        raise bad_argument(f"{'--start' if error.of_start else '--end'} {error}") from None
    return first, last


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _parse_mode(text: str | None, start: date | None) -> Mode:
    if text is None:
        return Mode.UPDATE
    if start is None:
        raise bad_argument("--mode needs --start: the first day of a backfill")
    try:
        return Mode(text)
    except ValueError:
        raise bad_argument(f"--mode {text} is not one of {', '.join(Mode)}") from None


def _parse_day(name: str, value: object) -> date | None:
    if value is None:
        return None
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        raise bad_argument(f"{name} {value} is not a day; write it as 2024-01-31") from None


def _parse_trigger(text: str) -> Job.Trigger:
    try:
        return Job.Trigger(text)
    except ValueError:
        raise bad_argument(f"--trigger {text} is not one of {', '.join(Job.Trigger.values)}") from None


def _find_user(name: str | None) -> User | None:
    if name is None:
        return None
    user = User.objects.filter(username=name).first()
    if user is None:
        raise bad_argument(f"--user {name}: there is no such user")
    return user


def _parse_patience(value: object, *, wait: bool) -> float:
    if value is None:
        return PATIENCE
    if not wait:
        raise bad_argument("--timeout is for --wait; add it, or leave --timeout out")
    try:
        patience = float(str(value))
    except ValueError:
        patience = 0.0
    if not 0 < patience <= LONGEST_PATIENCE:
        raise bad_argument(f"--timeout {value} is not a number of seconds up to {LONGEST_PATIENCE:.0f}")
    return patience


def _parse_symbols(texts: Iterable[str]) -> list[str]:
    try:
        return list(dict.fromkeys(parse_symbol(text) for text in texts))
    except InvalidSymbol as error:
        raise bad_argument(str(error)) from None


def _request(
    symbols: Sequence[str],
    trigger: Job.Trigger,
    user: User | None,
    start: date | None,
    end: date | None,
    mode: Mode,
) -> Requested:
    with transaction.atomic():
        Stock.objects.bulk_create((Stock(symbol=symbol) for symbol in symbols), ignore_conflicts=True)
        known = Stock.objects.in_bulk(symbols, field_name="symbol")
        return request_fetches([known[symbol] for symbol in symbols], trigger, user, start=start, end=end, mode=mode)


def _read(job_ids: Sequence[UUID]) -> list[Job]:
    """The jobs as they are now, in this order."""
    found = Job.objects.prefetch_related(Job.REQUESTERS).in_bulk(job_ids)
    return [found[job_id] for job_id in job_ids if job_id in found]
