"""Additional start steps of a worker's consumer."""

import heapq
from typing import Any

from celery.bootsteps import StartStopStep
from celery.worker.consumer.tasks import Tasks
from kombu.asynchronous.timer import Timer
from kombu.common import QoS

FORGET_EVERY = 10.0
"""Seconds."""


class PrefetchOfEachQueue(StartStopStep):
    """Prefetches as many messages of each queue as the worker has processes, if the broker is RabbitMQ.

    Celery limits the sum over all queues. RabbitMQ chooses the next queue at random, so an urgent message could wait
    behind any number of less urgent messages. With a limit for each queue, an urgent message arrives at once, and runs
    next.
    """

    requires = (Tasks,)

    def start(self, c: Any) -> None:
        if not c.qos_global:
            return
        c.qos_global = False
        c.connection.default_channel.basic_qos(0, 0, True)  # no limit for the sum
        c.qos = QoS(c.task_consumer.qos, c.initial_prefetch_count)  # type: ignore[no-untyped-call]
        c.qos.update()


class ForgetCancelledTimers(StartStopStep):
    """Frees the timers of the time limits of ended jobs.

    kombu keeps a cancelled timer until its due time: for minutes, half a kilobyte for each job.
    """

    requires = (Tasks,)
    _repeated: Any = None

    def start(self, c: Any) -> None:
        self._repeated = c.timer.call_repeatedly(FORGET_EVERY, forget_cancelled, (c.timer,))

    def stop(self, c: Any) -> None:
        # A consumer restarts after a lost broker, possibly before this step has started.
        if self._repeated is not None:
            self._repeated.cancel()


def forget_cancelled(timer: Timer) -> None:
    """Remove cancelled entries from a timer's heap, in place."""
    timer._queue[:] = [scheduled for scheduled in timer._queue if not scheduled.entry.canceled]
    heapq.heapify(timer._queue)
