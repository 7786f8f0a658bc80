"""Tells a call that gives up in time from one that hangs."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

LIMIT = 10.0
"""Seconds. What the tests time takes at most one on a quiet machine, and minutes where a time-out is missing.

`python -m benchmarks` measures how long it really takes.
"""


@contextmanager
def promptly() -> Iterator[None]:
    """Fails if what stands inside takes longer than the limit."""
    began = time.monotonic()
    yield
    seconds = time.monotonic() - began
    print(f"it took {seconds:.2f} s")
    assert seconds < LIMIT
