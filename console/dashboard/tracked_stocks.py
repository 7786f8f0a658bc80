"""The stocks with the highest priority scores, and the state of their data."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from console.dashboard import links
from console.dashboard.links import Figure
from portfolio.tracking import WORDS, highest
from stockqueue.wording import describe_duration

HIGHEST = 10


@dataclass(frozen=True)
class TrackedStock:
    """A user's stock with its score, freshness (`state`, in words `data`), last fetch and last analysis."""

    user: str
    stock: Figure
    score: Figure
    state: str
    data: str
    fetched: str
    analysed: str


def most_tracked(now: datetime) -> Sequence[TrackedStock]:
    """The ten tracked stocks with the highest scores."""
    return [
        TrackedStock(
            user=row.user.get_username(),
            stock=Figure(row.stock.symbol, links.stocks(symbol__exact=row.stock.symbol)),
            score=Figure(str(row.priority_score), links.priorities(id__exact=row.pk)),
            state=row.freshness,
            data=WORDS[row.freshness],
            fetched=_ago(row.stock.checked_at, now),
            analysed=_ago(row.last_analysis.created_at if row.last_analysis else None, now),
        )
        for row in highest(HIGHEST, now)
    ]


def _ago(moment: datetime | None, now: datetime) -> str:
    return "never" if moment is None else f"{describe_duration(now - moment)} ago"
