"""How much memory something takes, what C libraries allocate included."""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil


@dataclass
class Growth:
    """By how many bytes the process grew at most."""

    peak: int = 0


@contextmanager
def watched_memory() -> Iterator[Growth]:
    """Looks at the process's resident memory every two milliseconds."""
    gc.collect()
    process, growth, done = psutil.Process(), Growth(), threading.Event()
    before = process.memory_info().rss

    def watch() -> None:
        while not done.wait(0.002):
            growth.peak = max(growth.peak, process.memory_info().rss - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield growth
    finally:
        done.set()
        watcher.join()
