"""The fundamental analysis of a stock: a company's figures become a recommendation."""

from datetime import UTC, date, datetime

from market.analysis.fundamental.rule import VERSION, recommend_by_fundamentals
from market.models import Analysis, Stock
from market.sources.base import Fundamentals


def analyse_fundamentals(stock: Stock, found: Fundamentals | None, now: datetime) -> Analysis:
    """Analyse the fundamentals of a stock at `now`, without saving. Too few known signals recommend nothing.

    `values` holds the fundamentals by name, dates as ISO texts. Without data from the source, `values` is empty.
    """
    analysis = Analysis(
        stock=stock, kind=Analysis.Kind.FUNDAMENTAL, data_as_of=now.astimezone(UTC).date(), version=VERSION
    )
    if found is not None:
        recommended = recommend_by_fundamentals(found)
        analysis.values = {
            name: value.isoformat() if isinstance(value, date) else value for name, value in found._asdict().items()
        }
        if recommended.action:
            analysis.recommendation, analysis.confidence = recommended.action, recommended.confidence
        if any(one.vote is not None for one in recommended.contributions):
            analysis.contributions = [one._asdict() for one in recommended.contributions]
    return analysis
