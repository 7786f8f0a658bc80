"""The number of concurrent requests of a piece of work."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

_turns: ContextVar[AbstractContextManager[object]] = ContextVar("turns")


@contextmanager
def taking(turns: AbstractContextManager[object]) -> Iterator[None]:
    """Make each request in the block hold a turn, such as a semaphore's, until its answer arrives."""
    token = _turns.set(turns)
    try:
        yield
    finally:
        _turns.reset(token)


def turn() -> AbstractContextManager[object]:
    """The turn of a single request. Outside of `taking` there is no limit."""
    return _turns.get(nullcontext())
