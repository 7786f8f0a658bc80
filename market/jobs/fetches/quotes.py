"""Asks for quotes of many stocks at once, and tells for which stocks a chart is needed instead."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from django.utils import timezone

from market.jobs.fetches.parameters import quote_size
from market.models import Stock
from market.prices.continuity import Continuity, NoContinuity
from market.sources import fetch_quotes
from market.sources.base import History, Quote, SourceBusy, SourceError
from market.sources.budget import spending

logger = logging.getLogger(__name__)


@dataclass
class Quoted:
    """Answers from quotes, and the reasons why the other stocks need a chart; by symbol.

    `requests`: the number of requests, without requests that the budget did not allow.
    """

    histories: dict[str, History] = field(default_factory=dict)
    why_chart: dict[str, str] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    """The stocks whose quotes do not continue their bars."""
    requests: int = 0

    def explain(self, chart: History) -> History:
        """The chart of a stock, with the reason why it was fetched."""
        reason = self.why_chart.get(chart.symbol, "")
        return replace(chart, reason=reason, is_break=chart.symbol in self.broken)


def ask_for_quotes(stocks: Sequence[Stock], share: float) -> Quoted:
    """Ask for quotes of the stocks whose bars a quote can continue. Never raises SourceError.

    If the request fails, its stocks need charts. `share`: which share of the source's budget the requests may use.
    """
    quoted = Quoted()
    continuity = Continuity.of(stocks, timezone.now())
    asked = []
    for stock in stocks:
        if reason := continuity.why_none_can(stock):
            quoted.why_chart[stock.symbol] = reason
        else:
            asked.append(stock)
    for first in range(0, len(asked), quote_size()):
        _ask(asked[first : first + quote_size()], continuity, quoted, share)
    return quoted


def _ask(stocks: Sequence[Stock], continuity: Continuity, quoted: Quoted, share: float) -> None:
    try:
        with spending(share):
            answers = fetch_quotes([stock.symbol for stock in stocks])
    except SourceError as error:
        is_asked = not isinstance(error, SourceBusy)
        quoted.requests += is_asked
        level = logging.WARNING if is_asked else logging.DEBUG
        logger.log(level, "no quotes of %d stocks: %s", len(stocks), error)
        quoted.why_chart |= {stock.symbol: f"no quotes: {error}" for stock in stocks}
        return
    quoted.requests += 1
    for stock in stocks:
        answer = answers[stock.symbol]
        if not isinstance(answer, Quote):
            quoted.why_chart[stock.symbol] = answer
            continue
        try:
            quoted.histories[stock.symbol] = continuity.continued(stock, answer)
        except NoContinuity as reason:
            quoted.why_chart[stock.symbol] = str(reason)
            quoted.broken.add(stock.symbol)
