"""The answer to a user's search: known stocks at once, and the source's matches as soon as a worker has them."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db.models import Case, IntegerField, Q, Value, When

from market.currency import major_unit
from market.models import Stock
from market.symbol_search import Match, clean_query, search
from portfolio.stock_page import visible_stocks

MOST_KNOWN = 8
MOST_QUESTIONS = 15
"""The questions of a page for the same query, until it gives the source up."""
SLOW = "Yahoo does not answer at the moment; only known symbols are shown."


@dataclass(frozen=True)
class Answer:
    """Matches of a query, first the stocks that the user may see. `next_question`: 0 if the answer is complete."""

    query: str
    matches: Sequence[Match]
    problem: str
    next_question: int

    @property
    def summary(self) -> str:
        """The state of the search, for people."""
        count = f"{len(self.matches)} match{'' if len(self.matches) == 1 else 'es'}"
        if self.next_question:
            return f"{count} so far; searching at Yahoo…"
        if self.problem:
            return f"{count}. {self.problem}"
        return f"{count}." if self.matches else f"No stock found for “{self.query}”."


def answer(text: str, user: User, question: int) -> Answer | None:
    """The answer to the `question`th question (from 1) for a text; None for a text that is too short."""
    query = clean_query(text)
    if not query:
        return None
    known = known_matches(query, user)
    found = search(query, user.pk, counts=question == 1)
    if found is None:
        is_last = question >= MOST_QUESTIONS
        return Answer(query, known, SLOW if is_last else "", 0 if is_last else question + 1)
    told = {match.symbol: match for match in found.matches}
    symbols = {match.symbol for match in known}
    first = [told.get(match.symbol, match) for match in known]
    return Answer(query, [*first, *(one for one in found.matches if one.symbol not in symbols)], found.problem, 0)


def known_matches(query: str, user: User) -> list[Match]:
    """The stocks that the user may see, by the beginning of their symbols and by parts of their names.

    Stocks of other users alone are left out, because a match would tell their holdings.
    """
    symbol = query.upper()
    rank = Case(When(symbol__startswith=symbol, then=Value(0)), default=Value(1), output_field=IntegerField())
    found = visible_stocks(user).filter(Q(symbol__startswith=symbol) | Q(name__icontains=query))
    return [_match(stock) for stock in found.order_by(rank, "symbol")[:MOST_KNOWN]]


def _match(stock: Stock) -> Match:
    return Match(stock.symbol, stock.name, stock.exchange, "", major_unit(stock.currency).currency)
