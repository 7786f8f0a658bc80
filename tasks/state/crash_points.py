"""Crash points: named places at which fault tests kill the process, as a power cut would."""

import os
import signal

VARIABLE = "STOCKQUEUE_CRASH_AT"


def crash_point(name: str) -> None:
    """Kill this process with SIGKILL if the environment names the point.

    `committed`: jobs are committed, no message is sent. `published`: messages are sent, `queued` is not recorded.
    `claimed`: a worker has the job. `worked`: the source has answered, nothing is stored. `ended`: the end is
    committed, the message is not acknowledged. `changed`: a batch of a bulk action is not committed yet. `batch`: the
    batch is committed. `announced`: the MQTT broker has acknowledged an announcement, which is not marked yet.
    """
    if os.environ.get(VARIABLE) == name:
        os.kill(os.getpid(), signal.SIGKILL)
