from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

from market.jobs.repair import request_repairs
from market.management.request_command import RequestCommand, parse_asked
from market.models import Stock
from tasks.enqueue import EnqueueResult
from tasks.management.jobs import bad_argument
from tasks.models import Job


class Command(RequestCommand):
    help = (
        "Enqueue a stock_fetch of the whole stored history of each SYMBOL, or of all active stocks. Bars that differ "
        "from the source are replaced, and bars that the source lacks are removed. A stock takes one request. "
        "Exit code 0; 1 if a job failed, expired or was cancelled, or the time limit was reached (with --wait); "
        "2 for bad arguments."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        self.add_request_arguments(parser, symbols="*")
        parser.set_defaults(trigger=Job.Trigger.MAINTENANCE.value)

    def handle(self, *args: Any, symbols: Sequence[str], **options: Any) -> None:
        asked = parse_asked(symbols, options)
        if not symbols:
            active = Stock.objects.filter(status=Stock.Status.ACTIVE)
            asked = asked._replace(symbols=list(active.values_list("symbol", flat=True)))
        else:
            self._check_known(asked.symbols)

        def request(stocks: list[Stock]) -> EnqueueResult:
            return request_repairs(stocks, asked.trigger)

        self.ask(asked, request)

    def _check_known(self, symbols: Sequence[str]) -> None:
        known = set(Stock.objects.filter(symbol__in=symbols).values_list("symbol", flat=True))
        if unknown := [symbol for symbol in symbols if symbol not in known]:
            raise bad_argument(f"no stock {unknown[0]}; fetch_stock creates stocks")
