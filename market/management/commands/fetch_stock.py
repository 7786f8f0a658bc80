import json
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from typing import Any

from django.contrib.auth.models import User
from django.utils import timezone

from market.jobs.backfill import LONGEST_RANGE_YEARS, InvalidRange, Mode, check_range, preview
from market.jobs.names import describe_backfill, describe_fetch, name_stocks
from market.jobs.requests import request_fetches
from market.management.request_command import RequestCommand, parse_asked
from market.models import Stock
from tasks.enqueue import EnqueueResult
from tasks.groups import group_jobs
from tasks.management.jobs import bad_argument


class Command(RequestCommand):
    help = (
        "Enqueue a stock_fetch of each SYMBOL, or join an active job for the same work. New stocks are created. "
        "Exit code 0; 1 if a job failed, expired or was cancelled, or the time limit was reached (with --wait); "
        "2 for bad arguments."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        self.add_request_arguments(parser)
        parser.add_argument(
            "--start",
            metavar="D",
            help=f"first day of a backfill, such as 2024-01-31; at most {LONGEST_RANGE_YEARS} years ago",
        )
        parser.add_argument("--end", metavar="D", help="last day of a backfill, inclusive (default: today)")
        parser.add_argument(
            "--mode",
            metavar="M",
            help="mode of a backfill: update (default: fetch all days), gaps (only sessions without a bar), "
            "replace (also remove bars that the source lacks)",
        )
        parser.add_argument("--preview", action="store_true", help="print the cost of a backfill, and enqueue nothing")
        parser.add_argument(
            "--user", metavar="U", help="requesting user, who gets a mail when a long-running request has ended"
        )

    def handle(self, *args: Any, symbols: Sequence[str], **options: Any) -> None:
        start, end = parse_range(options["start"], options["end"], timezone.now().date())
        mode = _parse_mode(options["mode"], start)
        user = _find_user(options["user"])
        asked = parse_asked(symbols, options)
        if options["preview"]:
            self._preview(asked.symbols, start, end, mode, as_data=asked.as_data)
            return

        def request(stocks: list[Stock]) -> EnqueueResult:
            requested = request_fetches(stocks, asked.trigger, user, start=start, end=end, mode=mode)
            if user is not None:
                names = name_stocks(stocks)
                what = describe_fetch(names) if start is None else describe_backfill(names, start, end, mode)
                group_jobs(what, requested, user)
            return requested

        self.ask(asked, request)

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


def parse_range(start: object, end: object, today: date) -> tuple[date | None, date | None]:
    """The days of a backfill, both included; None, None without a backfill. An error names the wrong day."""
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


def _find_user(name: str | None) -> User | None:
    if name is None:
        return None
    user = User.objects.filter(username=name).first()
    if user is None:
        raise bad_argument(f"--user {name}: there is no such user")
    return user
