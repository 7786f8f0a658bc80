"""Parts of the portfolio page, as the page itself has them, each as a message."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.template.loader import render_to_string
from django.utils import timezone

from market.exchange_rates import rate_symbols
from portfolio.holdings import Statement, Values, fetches_in, statements
from portfolio.live.messages import element
from portfolio.models import Preferences
from portfolio.price_alerts.notices import unseen_notices
from portfolio.splits.notes import split_notes
from portfolio.time_zone import zone_of
from portfolio.visit import visit_of


@dataclass(frozen=True)
class Parts:
    """The rows of some stocks, the totals of all portfolios with their `values`, and the news about alerts and splits.

    `news`: the number of new notices, and an element that differs from the page's if the page has to fetch its notes.
    `shown`: all statements.
    """

    rows: list[str]
    totals: list[str]
    news: list[str]
    values: Values
    shown: list[Statement]

    @property
    def symbols(self) -> frozenset[str]:
        """The symbols of all stocks, and of the exchange rates in the totals."""
        positions = [position for statement in self.shown for position in statement.positions]
        currencies = {one.currency for one in positions} | {statement.summary.currency for statement in self.shown}
        return frozenset([*(one.stock.symbol for one in positions), *rate_symbols(currencies)])

    def of(self, session: Mapping[str, Any]) -> list[str]:
        """All parts, and the summary of the session's login."""
        visit = {"visit": visit_of(session, fetches_in(self.shown))}
        return [*self.rows, *self.totals, *self.news, element(render_to_string("portfolio/visit.html", visit))]


def rows(user: User, symbols: Collection[str], values: Values) -> list[str]:
    """The user's holdings of these stocks. Their weights are the shares of `values`."""
    with timezone.override(zone_of(Preferences.of(user).time_zone)):
        return _rows(statements(user, symbols=symbols, values=values), symbols)


def parts(user: User, symbols: Collection[str]) -> Parts:
    """The same with the totals, which takes all holdings of the user."""
    with timezone.override(zone_of(Preferences.of(user).time_zone)):
        shown = statements(user)
        totals = [
            element(render_to_string("portfolio/totals.html", {"statement": one})) for one in shown if one.positions
        ]
        values = {one.portfolio.pk: one.summary.value for one in shown if one.summary.value is not None}
        return Parts(_rows(shown, symbols), totals, _news(user), values, shown)


def _news(user: User) -> list[str]:
    context = {"unseen": unseen_notices(user), "splits": split_notes(user)}
    return [element(render_to_string(f"portfolio/{name}.html", context)) for name in ("unseen", "news")]


def _rows(shown: Iterable[Statement], symbols: Collection[str]) -> list[str]:
    positions = (position for statement in shown for position in statement.positions)
    return [
        element(render_to_string("portfolio/holding.html", {"position": position}))
        for position in positions
        if position.stock.symbol in symbols
    ]
