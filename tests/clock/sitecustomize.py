"""Sets the clock of each Python process below `tests/days.py`, by libfaketime.

Python imports this module when it starts, as its folder is on PYTHONPATH. Only Python gets the library: with it,
redis-server and Chromium do not start.
"""

import os
import select
import sys
import time
from typing import SupportsIndex

LIBRARY = "LD_PRELOAD"


def sleep(seconds: float | SupportsIndex, /) -> None:
    """Like `time.sleep`, which fails with EINVAL under libfaketime 0.9.10 on Python 3.11.

    See https://github.com/wolfcw/libfaketime/issues/426.
    """
    if float(seconds) < 0:
        raise ValueError("sleep length must be non-negative")
    select.select((), (), (), float(seconds))


if os.environ.pop(LIBRARY, None) is None:
    os.execve(sys.executable, sys.orig_argv, os.environ | {LIBRARY: os.environ["TESTS_CLOCK_LIBRARY"]})
time.sleep = sleep
