"""What a worker's consumer does when it starts, besides Celery's own steps."""

import heapq
from typing import Any

from celery.bootsteps import StartStopStep
from celery.worker.consumer.tasks import Tasks
from kombu.asynchronous.timer import Timer
from kombu.common import QoS

FORGET_EVERY = 10.0
"""Seconds."""


class PrefetchOfEachQueue(StartStopStep):
    """Lets a worker have as many unfinished messages of each queue as it has processes, where RabbitMQ counts them.

    Celery asks for that many of all queues together. RabbitMQ chooses at random which queue sends the next, so an
    urgent message would stand behind any number of others; this way it comes at once, and is next.
    """

    requires = (Tasks,)

    def start(self, c: Any) -> None:
        if not c.qos_global:
            return
        c.qos_global = False
        c.connection.default_channel.basic_qos(0, 0, True)  # no limit for all together
        c.qos = QoS(c.task_consumer.qos, c.initial_prefetch_count)  # type: ignore[no-untyped-call]
        c.qos.update()


class ForgetCancelledTimers(StartStopStep):
    """Frees the timers of the time limits of jobs that have ended.

    kombu cancels such a timer, and keeps it until it would have been due: minutes, half a kilobyte for each job.
    """

    requires = (Tasks,)
    _repeated: Any = None

    def start(self, c: Any) -> None:
        self._repeated = c.timer.call_repeatedly(FORGET_EVERY, forget_cancelled, (c.timer,))

    def stop(self, c: Any) -> None:
        # A consumer starts again when it has lost its broker, which may happen before it has started this.
        if self._repeated is not None:
            self._repeated.cancel()


def forget_cancelled(timer: Timer) -> None:
    """Drop what is cancelled from a timer's heap, in place."""
    timer._queue[:] = [scheduled for scheduled in timer._queue if not scheduled.entry.canceled]
    heapq.heapify(timer._queue)
