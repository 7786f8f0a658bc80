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

from portfolio.imports import PORTFOLIO, Imported, import_statement
from portfolio.models import Portfolio
from portfolio.statement_file import MOST_PROBLEMS, ImportRefused, read_statement
from tasks.management.jobs import ShellCommand, bad_argument


class Command(ShellCommand):
    help = (
        "Update a user's portfolio from CSV files: the predecessor's chatgpt_portfolio_update.csv (its latest day) "
        "or chatgpt_trade_log.csv, which replaces all holdings, or symbol,shares,buy_price, which adds and changes "
        "holdings. All files are imported, or none. Exit code 0; 1 if a file is refused; 2 for bad arguments."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "files", nargs="*", metavar="FILE", help="default: the csv_files of portfolio.sources in job_processor.yml"
        )
        parser.add_argument("--user", required=True, metavar="U", help="owner of the portfolio")
        parser.add_argument(
            "--portfolio", default=PORTFOLIO, metavar="NAME", help=f"name of the portfolio (default: {PORTFOLIO})"
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
        if not 0 < len(name) <= longest:
            raise bad_argument(f"--portfolio needs a name of at most {longest} characters")
        paths = [Path(file) for file in files or _configured_files()]
        if not paths:
            raise bad_argument("name a FILE, or a csv_file in portfolio.sources of job_processor.yml")
        contents = [(path, _read(path)) for path in paths]
        done: dict[str, Imported] = {}
        with transaction.atomic():
            for path, content in contents:
                try:
                    done[str(path)] = import_statement(read_statement(content), user, name)
                except ImportRefused as refused:
                    raise CommandError("\n".join(_explain(path, refused))) from None
            transaction.set_rollback(options["dry_run"])
        if options["json"]:
            self.stdout.write(json.dumps([{"file": file, **asdict(item)} for file, item in done.items()], default=str))
            return
        for file, imported in done.items():
            self._tell(file, imported, dry_run=options["dry_run"])

    def _tell(self, file: str, imported: Imported, *, dry_run: bool) -> None:
        self.stdout.write(f"{file}: {imported.statement}")
        steps = (
            ("note", imported.statement.notes),
            *(("add", imported.added), ("change", imported.changed), ("remove", imported.removed)),
        )
        for verb, lines in steps:
            for line in lines:
                self.stdout.write(f"  {verb}  {line}")
        self.stdout.write(f"{'dry run: ' if dry_run else ''}{imported}")


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
