import json
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management.base import CommandError
from django.db import transaction

from market.security_numbers import remember
from market.symbols import InvalidSymbol, parse_symbol
from portfolio.files.reading import read_file
from portfolio.files.refused import MOST_PROBLEMS, ImportRefused
from portfolio.imports.changes import PORTFOLIO, Imported, ImportedFile, import_file
from portfolio.models import Portfolio
from tasks.management.jobs import ShellCommand, bad_argument


class Command(ShellCommand):
    help = (
        "Update a user's portfolios from files of brokers and programs (CSV or .xlsx): positions add and change "
        "holdings; transactions are added up; the predecessor's chatgpt_portfolio_update.csv and "
        "chatgpt_trade_log.csv replace all holdings. All files are imported, or none. Exit code 0; 1 if a file is "
        "refused; 2 for bad arguments."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "files", nargs="*", metavar="FILE", help="default: the csv_files of portfolio.sources in job_processor.yml"
        )
        parser.add_argument("--user", required=True, metavar="U", help="owner of the portfolio")
        parser.add_argument(
            "--portfolio",
            default="",
            metavar="NAME",
            help=f"name of the portfolio (default: {PORTFOLIO}; in a file with several accounts, their names)",
        )
        parser.add_argument(
            "--symbol",
            action="append",
            default=[],
            metavar="NUMBER=SYMBOL",
            help="the symbol of an ISIN or another number of a security; kept for later files; can be repeated",
        )
        parser.add_argument("--dry-run", action="store_true", help="print the changes without making them")
        parser.add_argument(
            "--json", action="store_true", help="print the changes as a JSON list, one item for each file"
        )

    def handle(self, *args: Any, files: Sequence[str], **options: Any) -> None:
        user = User.objects.filter(username=options["user"]).first()
        if user is None:
            raise bad_argument(f"there is no user {options['user']!r}")
        name, longest = options["portfolio"].strip(), Portfolio._meta.get_field("name").max_length or 0
        if len(name) > longest or (options["portfolio"] and not name):
            raise bad_argument(f"--portfolio needs a name of at most {longest} characters")
        symbols = dict(map(_parse_assignment, options["symbol"]))
        paths = [Path(file) for file in files or _configured_files()]
        if not paths:
            raise bad_argument("name a FILE, or a csv_file in portfolio.sources of job_processor.yml")
        contents = [(path, _read(path)) for path in paths]
        done: dict[str, ImportedFile] = {}
        with transaction.atomic():
            remember(symbols)
            for path, content in contents:
                try:
                    done[str(path)] = import_file(read_file(content), user, name)
                except ImportRefused as refused:
                    raise CommandError("\n".join(_explain(path, refused))) from None
            transaction.set_rollback(options["dry_run"])
        if options["json"]:
            self.stdout.write(json.dumps([{"file": file, **asdict(item)} for file, item in done.items()], default=str))
            return
        for file, imported in done.items():
            self._tell(file, imported, dry_run=options["dry_run"])

    def _tell(self, file: str, imported: ImportedFile, *, dry_run: bool) -> None:
        self.stdout.write(f"{file}: {imported.content}")
        for note in imported.content.notes:
            self.stdout.write(f"  note  {note}")
        for portfolio in imported.portfolios:
            if len(imported.portfolios) > 1:
                self.stdout.write(f"  portfolio  {portfolio.portfolio}")
            self._tell_changes(portfolio)
        self.stdout.write(f"{'dry run: ' if dry_run else ''}{imported}")

    def _tell_changes(self, portfolio: Imported) -> None:
        for verb, lines in (("add", portfolio.added), ("change", portfolio.changed), ("remove", portfolio.removed)):
            for line in lines:
                self.stdout.write(f"  {verb}  {line}")


def _parse_assignment(text: str) -> tuple[str, str]:
    number, _, symbol = text.partition("=")
    if not number.strip().isalnum():
        raise bad_argument(f"--symbol {text!r} has no number; write it as US0378331005=AAPL")
    try:
        return number.strip().upper(), parse_symbol(symbol)
    except InvalidSymbol as error:
        raise bad_argument(f"--symbol {text!r}: {error}") from None


def _configured_files() -> list[str]:
    return [source.csv_file for source in settings.JOB_PROCESSOR.portfolio.sources if source.csv_file]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise bad_argument(f"{path} cannot be read: {error.strerror}") from None


def _explain(path: Path, refused: ImportRefused) -> list[str]:
    shown = refused.problems[:MOST_PROBLEMS]
    more = len(refused.problems) - len(shown)
    return [
        f"{path} was not imported:",
        *(f"  {problem}" for problem in shown),
        *([f"  and {more} more"] if more else []),
    ]
