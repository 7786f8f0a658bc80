from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

from tasks.management.asking import RequestCommand, parse_asked
from tasks.requests import request_analyses


class Command(RequestCommand):
    help = (
        "Queue a stock_analysis for each SYMBOL, or join the one that is on its way. Where there is too little of a "
        "stock's history, that is fetched first. Stocks that are not known yet are created. Exit code 0; 1 when a job "
        "failed, expired or was cancelled, or the time was up (with --wait); 2 for bad arguments."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        self.add_request_arguments(parser)

    def handle(self, *args: Any, symbols: Sequence[str], **options: Any) -> None:
        asked = parse_asked(symbols, options)
        self.ask(asked, lambda stocks: request_analyses(stocks, asked.trigger))
