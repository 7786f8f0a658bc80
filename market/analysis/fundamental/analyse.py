"""The fundamental analysis of a stock: what a source says of the company becomes a recommendation."""

from datetime import UTC, date, datetime

from market.analysis.fundamental.rule import VERSION, recommend_by_fundamentals
from market.models import Analysis, Stock
from market.sources.base import Fundamentals


def analyse_fundamentals(stock: Stock, found: Fundamentals | None, now: datetime) -> Analysis:
    """The analysis of what a source had at `now`, not saved yet; where no signal is known, it recommends nothing.

    `values` are the fundamentals by name, dates as ISO texts; empty where the source had none.
    """
    analysis = Analysis(
        stock=stock, kind=Analysis.Kind.FUNDAMENTAL, data_as_of=now.astimezone(UTC).date(), version=VERSION
    )
    if found is not None:
        recommended = recommend_by_fundamentals(found)
        analysis.values = {
            name: value.isoformat() if isinstance(value, date) else value for name, value in found._asdict().items()
        }
        if any(one.vote is not None for one in recommended.contributions):
            analysis.recommendation, analysis.confidence = recommended.action, recommended.confidence
            analysis.contributions = [one._asdict() for one in recommended.contributions]
    return analysis
