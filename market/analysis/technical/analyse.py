"""The technical analysis of a stock: its bars become indicators, and these a recommendation."""

from importlib import import_module
from typing import TYPE_CHECKING

from market.analysis.technical.rule import recommend_by_indicators
from market.models import Analysis, Stock

if TYPE_CHECKING:
    from market.analysis.technical.indicators import Indicators

HISTORY_BARS = 504
"""Two years: what is read of a stock at most. More bars change no indicator by as much as a billionth."""
ENOUGH_BARS = 250
"""With as many bars, no indicator is without a value for want of them."""


def analyse(stock: Stock) -> Analysis | None:
    """The analysis of the newest bars that are stored, not saved yet; None where there are none. Imports pandas."""
    columns = ("date", "high", "low", "close", "adj_close")
    newest_first = list(stock.bars.order_by("-date").values_list(*columns)[:HISTORY_BARS])
    if not newest_first:
        return None
    indicators = import_module("market.analysis.technical.indicators")
    found: Indicators = indicators.latest(indicators.Prices(*zip(*reversed(newest_first), strict=True)))
    recommended = recommend_by_indicators(found)
    return Analysis(
        stock=stock,
        kind=Analysis.Kind.TECHNICAL,
        data_as_of=found.date,
        bars=found.bars,
        bars_changed_at=stock.bars_changed_at,
        values={"close": found.close} | found.values(),
        recommendation=recommended.action,
        confidence=recommended.confidence,
        contributions=[one._asdict() for one in recommended.contributions],
        version=recommended.version,
    )
