"""Search for jobs by symbol, by a requester's name, or by id.

Each look-up uses an index. There is no search for a part of a text.
"""

import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db.models import Q, QuerySet

from console.kit.keyset import Path
from market.models import Stock
from market.symbols import InvalidSymbol, parse_symbol
from tasks.models import Job, JobRequest

HELP = "symbol or its beginning, user name, job id or its first 8 characters"

_LENGTH_OF_ID = 32
_ID = re.compile(rf"[0-9a-f]{{8,{_LENGTH_OF_ID}}}", re.ASCII)

_Found = tuple[QuerySet[Any], dict[str, Any]]
"""Rows as numerous as the found jobs, in the order of an index, and the lookups of the jobs."""


def paths_to_jobs(text: str) -> list[Path]:
    """Paths to the jobs of a user with this name, of ids with this beginning, and of the stock with this symbol.

    If no job has the symbol, paths to the jobs of all stocks with this beginning of their symbol.
    """
    paths = [Path(rows, Q(**lookups), is_scattered=True) for rows, lookups in (*_by_id(text), *_by_user(text))]
    for rows, lookups in _by_symbol(text):
        # The index of a symbol's jobs has the order of the list.
        paths.append(Path(rows, Q(**lookups), is_in_order="symbol" in lookups, is_scattered=True))
    return paths


def paths_to_requests(text: str) -> list[Path]:
    """Paths to the user's requests, and to the requests for jobs found by id or symbol."""
    by_user = [Path(rows, Q(user=user), is_scattered=True) for user, rows in _requests_of(text)]
    return by_user + [_of_jobs(found) for found in (*_by_id(text), *_by_symbol(text))]


def paths_to_events(text: str) -> list[Path]:
    return [_of_jobs(found) for found in (*_by_id(text), *_by_user(text), *_by_symbol(text))]


def _of_jobs(found: _Found) -> Path:
    """A path to the requests or events of the found jobs."""
    rows, lookups = found
    return Path(rows, Q(**{f"job__{lookup}": value for lookup, value in lookups.items()}), is_scattered=True)


def _by_id(text: str) -> Iterator[_Found]:
    beginning = text.replace("-", "").lower()
    if _ID.fullmatch(beginning):
        ids = [UUID(beginning.ljust(_LENGTH_OF_ID, filler)) for filler in "0f"]
        yield Job.objects.filter(id__range=ids).order_by("id"), {"id__range": ids}


def _by_user(text: str) -> Iterator[_Found]:
    for _, rows in _requests_of(text):
        yield rows, {"id__in": rows.order_by().values("job")}


def _requests_of(text: str) -> Iterator[tuple[User, QuerySet[JobRequest]]]:
    for user in User.objects.filter(username=text):
        yield user, JobRequest.objects.filter(user=user).order_by("user")


def _by_symbol(text: str) -> Iterator[_Found]:
    try:
        symbol = parse_symbol(text)
    except InvalidSymbol:
        return
    jobs = Job.objects.filter(symbol=symbol)
    if jobs.exists():
        yield jobs.order_by("-created_at"), {"symbol": symbol}
        return
    stocks = Stock.objects.filter(symbol__startswith=symbol).order_by()
    if stocks.exists():
        lookups = {"symbol__in": stocks.values("symbol")}
        yield Job.objects.filter(**lookups).order_by(), lookups
