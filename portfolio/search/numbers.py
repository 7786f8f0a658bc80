"""The symbols of the security numbers in an import's preview. A person chooses; nothing is stored here."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from django.contrib.auth.models import User
from django.http import QueryDict

from market.symbol_search import IMPORTING, Found, Match, clean_query, search
from portfolio.files.content import FilePosition
from portfolio.search.answers import MOST_QUESTIONS, SLOW

MOST_NUMBERS = 50
"""The numbers of a preview that are looked up; the next preview looks up the next numbers."""


@dataclass(frozen=True)
class NumberQuestion:
    """A number at a place of the page, and the currency of its line in the file; empty if unknown."""

    place: int
    number: str
    currency: str


@dataclass(frozen=True)
class NumberMatches:
    """The matches of a number, first in the currency of the file; `problem` says why there are none."""

    question: NumberQuestion
    matches: Sequence[Match]
    problem: str

    @property
    def place(self) -> int:
        return self.question.place

    @property
    def number(self) -> str:
        return self.question.number


@dataclass(frozen=True)
class NumberQuestions:
    """The answers so far. `waiting`: the questions without an answer."""

    found: Sequence[NumberMatches]
    waiting: Sequence[NumberQuestion]
    question: int

    @classmethod
    def ask(cls, positions: Iterable[tuple[int, FilePosition]], user: User) -> "NumberQuestions":
        """Look up the numbers among the positions, each with its place on the page."""
        asked = [NumberQuestion(place, one.number, one.currency) for place, one in positions if one.number]
        return cls._look_up(asked[:MOST_NUMBERS], user, 1)

    @classmethod
    def read(cls, given: QueryDict, user: User, question: int) -> "NumberQuestions":
        """Look up what `query_string` had; anything else is ignored."""
        columns = (given.getlist(name)[:MOST_NUMBERS] for name in ("place", "number", "currency"))
        asked = [
            NumberQuestion(int(place), number[:40], currency[:8])
            for place, number, currency in zip(*columns, strict=False)
            if place.isascii() and place.isdecimal() and len(place) < 6
        ]
        return cls._look_up(asked, user, question)

    @classmethod
    def _look_up(cls, asked: Sequence[NumberQuestion], user: User, question: int) -> "NumberQuestions":
        answers = [(one, _search(one.number, user, question)) for one in asked]
        found = [_matches(one, answer) for one, answer in answers if answer is not None]
        waiting = [one for one, answer in answers if answer is None]
        if question >= MOST_QUESTIONS:
            found += [NumberMatches(one, [], SLOW) for one in waiting]
            waiting = []
        return cls(found, waiting, question + 1)

    @property
    def query_string(self) -> str:
        """The waiting questions, for the next request."""
        parts: list[tuple[str, object]] = [("question", self.question)]
        for one in self.waiting:
            parts += [("place", one.place), ("number", one.number), ("currency", one.currency)]
        return urlencode(parts)

    @property
    def by_place(self) -> Mapping[int, NumberMatches]:
        return {one.place: one for one in self.found}


def _search(number: str, user: User, question: int) -> Found | None:
    query = clean_query(number)
    return search(query, user.pk, IMPORTING, counts=question == 1) if query else Found([])


def _matches(asked: NumberQuestion, answer: Found) -> NumberMatches:
    in_currency = sorted(answer.matches, key=lambda match: match.currency != asked.currency)
    problem = answer.problem or ("" if answer.matches else f"Yahoo lists no symbol for {asked.number}.")
    return NumberMatches(asked, in_currency, problem)
