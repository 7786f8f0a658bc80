"""The technical analysis of a stock: its bars become indicators, and the indicators a recommendation."""

from importlib import import_module
from typing import TYPE_CHECKING

from market.analysis.technical.rule import recommend_by_indicators
from market.models import Analysis, Stock

if TYPE_CHECKING:
    from market.analysis.technical.indicators import Indicators

HISTORY_BARS = 504
"""Two years: the most bars to read of a stock. More bars change no indicator by even a billionth."""
ENOUGH_BARS = 250
"""The number of bars from which every indicator has a value."""


def analyse(stock: Stock) -> Analysis | None:
    """Analyse a stock's newest trusted bars, without saving; None without bars. Imports pandas."""
    columns = ("date", "high", "low", "close", "adj_close")
    newest_first = list(stock.bars.trusted().order_by("-date").values_list(*columns)[:HISTORY_BARS])
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
        recommendation=recommended.action or "",
        confidence=recommended.confidence if recommended.action else None,
        contributions=[one._asdict() for one in recommended.contributions],
        version=recommended.version,
    )
