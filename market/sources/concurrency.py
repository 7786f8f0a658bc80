"""How many requests of one piece of work are on their way at the same time."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

_turns: ContextVar[AbstractContextManager[object]] = ContextVar("turns")


@contextmanager
def taking(turns: AbstractContextManager[object]) -> Iterator[None]:
    """In this block each request takes one of `turns`, such as a semaphore's, until its answer is there."""
    token = _turns.set(turns)
    try:
        yield
    finally:
        _turns.reset(token)


def turn() -> AbstractContextManager[object]:
    """For one request. Outside of `taking` there is no limit."""
    return _turns.get(nullcontext())
