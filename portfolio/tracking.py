"""Tracked stocks of users: their scores, and the freshness of their data and analyses."""

from collections.abc import Iterable
from datetime import datetime

from market.freshness import FRESH, NEVER, PARKED, STALE, Freshness
from market.models import Analysis
from portfolio.models import PortfolioPriority

WORDS = {FRESH: "fresh", STALE: "stale", NEVER: "never fetched", PARKED: "parked"}
"""The states of a stock's data, for people."""


def highest(count: int, now: datetime) -> list[PortfolioPriority]:
    """The active rows with the highest scores, with the states of their stocks. Three queries at most."""
    active = PortfolioPriority.objects.filter(is_active=True).select_related("user", "stock")
    return look_up(active.order_by("-priority_score", "-id")[:count], now)


def look_up(tracked: Iterable[PortfolioPriority], now: datetime) -> list[PortfolioPriority]:
    """The same rows, with `freshness` and `last_analysis`. Two queries at most, if the stocks are loaded already."""
    rows = list(tracked)
    stocks = {row.stock for row in rows}
    freshness = Freshness.of(stocks, now)
    newest = Analysis.objects.newest(stocks).order_by("created_at", "id").only("stock_id", "kind", "created_at")
    analyses = {analysis.stock_id: analysis for analysis in newest}
    for row in rows:
        row.freshness = freshness.state_of(row.stock)
        row.last_analysis = analyses.get(row.stock_id)
    return rows
