"""Searches for symbols by name, symbol or security number at a source, in a worker; the cache has the answers.

A query of several users is one request. Searches share the rate limit with fetches: each counts as a request, and all
of them together use up at most a part of the limit.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from market.currency import major_unit, usual_currency
from market.jobs.limits import share_of
from market.sources import limiting, search_by_name
from market.sources.base import (
    Listed,
    RateLimited,
    SourceBusy,
    SourceDown,
    SourceError,
    SourceTimeout,
    SourceUnreachable,
)
from market.sources.budget import limit_of, spending
from market.text import clean_text
from stockqueue import cache
from stockqueue.cache import Kind
from tasks.delivery import light_tasks
from tasks.models import Job

logger = logging.getLogger(__name__)

TASK = "stockqueue.search_symbols"
PRIORITY = 3
"""Below the fetches of logins, so that these may use the rest of the rate limit."""
SHORTEST_QUERY = 2
LONGEST_QUERY = 60
LASTS = 20.0
"""Seconds that a search may take, until the same query may be sent again."""
PROBLEM_LASTS = 10.0
"""Seconds in which a failed search is not repeated."""
MOST_MATCHES = 10
SHARE = 0.5
"""The share of a source's rate limit that all searches together may use in a minute."""
MINUTE = 60
_PAUSE = ("pause", "unreachable")
"""The key of a short pause for all queries, so that a hanging source does not keep workers from their fetches."""

UNREACHABLE = "Yahoo cannot be reached at the moment; only known symbols are shown."
BUSY = "The rate limit of Yahoo is reached; only known symbols are shown. Try again in a minute."
TOO_MANY = "You have searched very often in the last minute; only known symbols are shown. Try again in a minute."
NOBODY = "Nobody can search at Yahoo at the moment; only known symbols are shown."


@dataclass(frozen=True)
class Match:
    """A symbol with its known facts; unknown texts are empty. `currency`: of amounts, so never a minor unit."""

    symbol: str
    name: str
    exchange: str
    kind: str
    currency: str

    @property
    def details(self) -> str:
        """`NASDAQ, USD, Equity`."""
        return ", ".join(filter(None, (self.exchange, self.currency, self.kind)))


@dataclass(frozen=True)
class Found:
    """The answer to a search: matches, or a problem for people. Without both, the source lists nothing."""

    matches: Sequence[Match]
    problem: str = ""


@dataclass(frozen=True)
class Allowance:
    """The searches at a source that a user may cause in a minute. Answers from the cache do not count."""

    purpose: str
    a_minute: int


TYPING = Allowance("typing", 20)
IMPORTING = Allowance("importing", 60)


def clean_query(text: str) -> str:
    """A query in the form in which equal queries are equal; empty for a query that is too short."""
    query = clean_text(text[: 10 * LONGEST_QUERY], 10 * LONGEST_QUERY).lower()[:LONGEST_QUERY].strip()
    return query if len(query) >= SHORTEST_QUERY else ""


def search(query: str, user_id: int, allowance: Allowance = TYPING, *, counts: bool = True) -> Found | None:
    """The answer to a clean query; None while a worker gets it: ask again. Takes no longer than a lookup.

    `counts`: whether the cache counts the lookup as a hit or a miss; repeated questions do not count.
    """
    if (answer := cache.get(Kind.SEARCH, [query], counts=counts)) is not None:
        return Found([_match(Listed(*one)) for one in answer["matches"]], answer["problem"])
    sources = limiting("search")
    if not sources:
        return Found([])
    if not cache.claim(Kind.SEARCH, [query], LASTS):
        return None
    problem = _refuse(user_id, allowance, sources[0]) or ("" if _hand_over(query) else NOBODY)
    if problem:
        cache.release(Kind.SEARCH, [query])
    return Found([], problem) if problem else None


def search_source(query: str) -> None:
    """Search at the source, and put the answer or the problem into the cache. For a worker."""
    try:
        with spending(share_of(Job.Queue.FOREGROUND, PRIORITY)):
            listed = search_by_name(query)[:MOST_MATCHES]
    except SourceError as error:
        logger.info("search for %r: %s", query, error)
        problem = BUSY if isinstance(error, SourceBusy | RateLimited) else UNREACHABLE
        if isinstance(error, SourceUnreachable | SourceTimeout | SourceDown):
            cache.put(Kind.SEARCH, _PAUSE, 1, PROBLEM_LASTS)
        cache.put(Kind.SEARCH, [query], {"matches": [], "problem": problem}, PROBLEM_LASTS)
    else:
        cache.put(Kind.SEARCH, [query], {"matches": listed, "problem": ""})
    finally:
        cache.release(Kind.SEARCH, [query])


def _refuse(user_id: int, allowance: Allowance, source: str) -> str:
    """The reason why the user may not cause a search now; empty if there is none."""
    if cache.get(Kind.SEARCH, _PAUSE, counts=False):
        return UNREACHABLE
    minute = int(time.time()) // MINUTE
    own = cache.count_up(Kind.SEARCH, [allowance.purpose, user_id, minute], 2 * MINUTE) or 0
    if own > allowance.a_minute:
        return TOO_MANY
    everybody_s = cache.count_up(Kind.SEARCH, ["all", source, minute], 2 * MINUTE) or 0
    return BUSY if everybody_s > max(1, limit_of(source) * SHARE) else ""


def _hand_over(query: str) -> bool:
    """Let a worker search, or else this process."""
    queue = Job.Queue.FOREGROUND
    return light_tasks.hand_over(
        TASK, search_source, query, queue=queue, priority=PRIORITY, expires=LASTS, is_awaited=True
    )


def _match(listed: Listed) -> Match:
    currency = major_unit(usual_currency(listed.symbol)).currency
    return Match(listed.symbol, listed.name, listed.market or listed.exchange, listed.kind, currency)
