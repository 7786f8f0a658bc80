"""Named places at which tests of faults kill the process, as a power cut would."""

import os
import signal

VARIABLE = "STOCKQUEUE_CRASH_AT"


def crash_point(name: str) -> None:
    """SIGKILL for this process where the environment names this point; no effect otherwise.

    `committed`: jobs are committed, no message is sent. `published`: messages are sent, `queued` is not noted.
    `claimed`: a worker has the job. `worked`: the source has answered, nothing is stored. `ended`: the end is
    committed, the message is not acknowledged. `changed`: a batch of an action on many jobs is not committed yet.
    `batch`: it is.
    """
    if os.environ.get(VARIABLE) == name:
        os.kill(os.getpid(), signal.SIGKILL)
