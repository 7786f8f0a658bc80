"""The cache of answers that cost time or requests: of searches, charts and value histories.

A cache that is away, full or unwritable costs speed and nothing else: errors end in `_Store`. While Redis is away, the
files take its place. Prices and freshness are never cached.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, TypeVar

from django.conf import settings
from django.core.cache import caches
from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from redis.exceptions import RedisError, ResponseError

from stockqueue.circuit_breaker import CircuitBreaker

logger = logging.getLogger(__name__)

PAUSE = 5.0
"""Seconds without attempts after a failure."""
COUNTED_IN = 600
"""Seconds of a part of the last hour, for which hits and misses are counted together."""
COUNTED_PARTS = 6

_Value = TypeVar("_Value")


class Kind(StrEnum):
    """The kinds of cached answers. Hits and misses are counted for each."""

    SEARCH = "search"
    CHART = "chart"
    VALUE_HISTORY = "value_history"


def cached(kind: Kind, key: Sequence[object], compute: Callable[[], _Value], ttl: float | None = None) -> _Value:
    """The cached answer of a key, or else the answer of `compute`, which is cached for `ttl` seconds (`default_ttl`).

    The answer has JSON's types: a tuple comes back as a list, and None is never cached. `key` holds all that the
    answer depends on, above all the time of the last change of its data, so that nothing outdated is found.
    """
    found: _Value | None = get(kind, key)
    if found is not None:
        return found
    value = compute()
    put(kind, key, value, ttl)
    return value


def get(kind: Kind, key: Sequence[object], *, counts: bool = True) -> Any:
    """The cached answer of a key; None if there is none. Counts a hit or a miss, if `counts`."""
    found = _find(_name(kind, key))
    if counts:
        _count(kind, "misses" if found is None else "hits")
    return found


def put(kind: Kind, key: Sequence[object], value: Any, ttl: float | None = None) -> bool:
    """Cache an answer for `ttl` seconds (`default_ttl`). Return whether a cache took it."""
    name, timeout = _name(kind, key), DEFAULT_TIMEOUT if ttl is None else ttl

    def store_value(cache: BaseCache) -> bool:
        cache.set(name, value, timeout)
        return True

    return _write(store_value) or False


def claim(kind: Kind, key: Sequence[object], ttl: float) -> bool:
    """Reserve a key for `ttl` seconds. False if another process has reserved it, or without a cache."""
    name = f"claim:{_name(kind, key)}"
    return _find(name) is None and (_write(lambda cache: cache.add(name, 1, ttl)) or False)


def release(kind: Kind, key: Sequence[object]) -> None:
    """End a claim before its time."""
    name = f"claim:{_name(kind, key)}"
    for store in _stores():
        store.attempt(lambda cache: cache.delete(name), writes=True)


def count_up(kind: Kind, key: Sequence[object], ttl: float) -> int | None:
    """Add one to a number that is kept for `ttl` seconds, and return the number; None without a cache."""
    return _add_one(f"count:{_name(kind, key)}", ttl)


def uses_of_last_hour() -> dict[tuple[str, str], int] | None:
    """The number of `hits` and `misses` of each kind, in the last 50 to 60 minutes; None without a cache.

    With Redis for all processes together, with files for the processes of this machine.
    """
    now = int(time.time()) // COUNTED_IN
    names = {
        _counter(kind, result, now - part): (str(kind), result)
        for kind in Kind
        for result in ("hits", "misses")
        for part in range(COUNTED_PARTS)
    }
    found = [store.attempt(lambda cache: cache.get_many(names), writes=False) for store in _stores()]
    counts = dict.fromkeys(names.values(), 0)
    for name, count in (item for values in found if values for item in values.items()):
        counts[names[name]] += count
    return None if all(values is None for values in found) else counts


def _name(kind: Kind, key: Sequence[object]) -> str:
    """The name of a key in the cache: short, and without characters that a cache does not allow."""
    text = json.dumps(list(key), default=str, separators=(",", ":"))
    return f"{kind}:{hashlib.sha256(text.encode()).hexdigest()[:40]}"


def _count(kind: Kind, result: str) -> None:
    _add_one(_counter(kind, result, int(time.time()) // COUNTED_IN), COUNTED_IN * (COUNTED_PARTS + 1))


def _counter(kind: Kind, result: str, part: int) -> str:
    return f"{kind}:{result}:{part}"


def _add_one(name: str, ttl: float) -> int | None:
    def add(cache: BaseCache) -> int:
        try:
            return cache.incr(name)
        except ValueError:  # no number yet
            return 1 if cache.add(name, 1, ttl) else cache.incr(name)

    return _write(add)


def _find(name: str) -> Any:
    """The value of a name in the first cache with the name: values that a full Redis refused are in the files."""
    found = (store.attempt(lambda cache: cache.get(name), writes=False) for store in _stores())
    return next((value for value in found if value is not None), None)


def _write(operate: Callable[[BaseCache], _Value]) -> _Value | None:
    """The result of the operation in the first cache that works; None if none does."""
    results = (store.attempt(operate, writes=True) for store in _stores())
    return next((result for result in results if result is not None), None)


class _Store:
    """A cache of Django. After an error it is left alone for PAUSE seconds; each outage is logged once."""

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self._reach = CircuitBreaker(PAUSE)
        self._space = CircuitBreaker(PAUSE)

    def attempt(self, operate: Callable[[BaseCache], _Value], *, writes: bool) -> _Value | None:
        """The result of `operate` with the cache; None after an error of the cache."""
        breakers = (self._reach, self._space) if writes else (self._reach,)
        if not all(breaker.allows() for breaker in breakers):
            return None
        try:
            result = operate(caches[self._alias])
        except ValueError:  # a value too large for the cache, or a number that has just expired
            return None
        except (RedisError, OSError) as error:
            # A full Redis still reads, and so does a full disk.
            is_full = writes and isinstance(error, ResponseError | OSError)
            self._fail(self._space if is_full else self._reach, error)
            return None
        for breaker in breakers:
            breaker.succeed()
        return result

    def _fail(self, breaker: CircuitBreaker, error: Exception) -> None:
        if not breaker.is_open:
            what = settings.CACHES[self._alias]["BACKEND"].rpartition(".")[2]
            logger.warning("%s fails, and answers are computed again: %s", what, error or type(error).__name__)
        breaker.fail()


_known: dict[str, _Store] = {}


def _stores() -> list[_Store]:
    """The caches in the order of their use."""
    return [_known.setdefault(alias, _Store(alias)) for alias in ("default", "files") if alias in settings.CACHES]
