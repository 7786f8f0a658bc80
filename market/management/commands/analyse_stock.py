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
        "Enqueue an analysis of each SYMBOL, or join an active job for the same work. Kinds: technical (a "
        "stock_analysis of prices, which first fetches a missing history), sentiment (a stock_analysis of news), "
        "fundamental (a stock_research of fundamentals), and news (a stock_research that only stores headlines). "
        "New stocks are created. Exit code 0; 1 if a job failed, expired or was cancelled, or the time limit was "
        "reached (with --wait); 2 for bad arguments."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        self.add_request_arguments(parser)
        parser.add_argument(
            "--kind",
            metavar="K",
            default=Analysis.Kind.TECHNICAL.value,
            help=f"kind of analysis: {', '.join(KINDS)} (default: technical)",
        )

    def handle(self, *args: Any, symbols: Sequence[str], **options: Any) -> None:
        kind, asked = _parse_kind(options["kind"]), parse_asked(symbols, options)
        self.ask(asked, lambda stocks: request_analyses(stocks, asked.trigger, analysis_types=[kind]))


def _parse_kind(text: str) -> Analysis.Kind:
    if text not in list(KINDS):
        raise bad_argument(f"--kind {text} is not one of {', '.join(KINDS)}")
    return Analysis.Kind(text)
