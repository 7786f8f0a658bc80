"""The share of logins that found everything fresh."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Q

from operations.monitoring.ratios import share
from operations.monitoring.statistics import A_DAY
from portfolio.models import Login


@dataclass(frozen=True)
class LoginCounts:
    """The logins of the last day by users with holdings; `instant` counts the logins without a stale stock."""

    all: int
    instant: int

    @property
    def share(self) -> float | None:
        """The share of instant logins, 0 to 1; None without logins."""
        return share(self.instant, self.all)


def count_logins(now: datetime) -> LoginCounts:
    """Count the logins of the last day, in a single query."""
    found = Login.objects.filter(at__gte=now - A_DAY).aggregate(
        all=Count("pk"), instant=Count("pk", filter=Q(stale=0))
    )
    return LoginCounts(**found)
