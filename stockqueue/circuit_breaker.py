"""Keeps a process from trying a failed server at every request."""

import threading
import time


class CircuitBreaker:
    """Remembers a failure for all threads of a process. After `pause` seconds, one thread tries again."""

    def __init__(self, pause: float) -> None:
        self._pause = pause
        self._lock = threading.Lock()
        self._closed_until: float | None = None

    def allows(self) -> bool:
        """Whether to try now. After a failure, a single caller per pause may try, until a caller reports success."""
        with self._lock:
            now = time.monotonic()
            if self._closed_until is not None and now < self._closed_until:
                return False
            if self._closed_until is not None:
                self._closed_until = now + self._pause
            return True

    def fail(self) -> None:
        with self._lock:
            self._closed_until = time.monotonic() + self._pause

    def succeed(self) -> None:
        with self._lock:
            self._closed_until = None

    @property
    def is_open(self) -> bool:
        """Whether the last attempt failed."""
        with self._lock:
            return self._closed_until is not None
