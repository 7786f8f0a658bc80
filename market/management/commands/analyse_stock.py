from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

from market.jobs.analysis import KINDS
from market.jobs.requests import request_analyses
from market.management.request_command import RequestCommand, parse_asked
from market.models import Analysis
from tasks.management.jobs import bad_argument


class Command(RequestCommand):
    help = (
        "Queue a stock_analysis for each SYMBOL, or join the one that is on its way: of its prices (technical; where "
        "there is too little of its history, that is fetched first) or of its news (sentiment); or a stock_research "
        "of its fundamentals (fundamental), or of its news without judging them (news). Stocks that are not known yet "
        "are created. Exit code 0; 1 when a job failed, expired or was cancelled, or the time was up (with --wait); "
        "2 for bad arguments."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        self.add_request_arguments(parser)
        parser.add_argument(
            "--kind",
            metavar="K",
            default=Analysis.Kind.TECHNICAL.value,
            help=f"what to find out: {', '.join(KINDS)} (default: technical)",
        )

    def handle(self, *args: Any, symbols: Sequence[str], **options: Any) -> None:
        kind, asked = _parse_kind(options["kind"]), parse_asked(symbols, options)
        self.ask(asked, lambda stocks: request_analyses(stocks, asked.trigger, analysis_types=[kind]))


def _parse_kind(text: str) -> Analysis.Kind:
    if text not in list(KINDS):
        raise bad_argument(f"--kind {text} is not one of {', '.join(KINDS)}")
    return Analysis.Kind(text)
