"""The way to the Celery broker: publishing that is bounded in time, and what waits there.

A broker that refuses or hangs costs a process half a second now and then, not every request: after a failure a circuit
breaker keeps everybody from trying for a while.
"""

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any
from uuid import UUID

from celery import current_app
from kombu import pools
from kombu.connection import Connection
from kombu.exceptions import KombuError

from tasks import job_types
from tasks.models import Job
from tasks.priority import broker_priority

logger = logging.getLogger(__name__)

ACQUIRE_TIMEOUT = 0.5
"""Seconds to wait for one of the pool's connections."""
PAUSE = 5.0
"""Seconds that the broker is left alone after a failure."""
KILL_AFTER = 30
"""Seconds beyond its time limit after which a job that does not stop by itself is killed."""

# Together they keep a message under a second, whether the broker refuses, hangs, or does not read what is published.
# Redis that hangs is waited for three times, which leaves a login a quarter of its second. RabbitMQ 3.10 took 0.9 s at
# most. A second attempt is for a connection that was lost meanwhile.
# kombu writes the policy of retries into the options, which tell its pools apart: so it is there from the start.
_CONNECT_TIMEOUT = 0.3
_CONFIRM_TIMEOUT = 0.25
_RETRY = {"max_retries": 1, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.1}
_REDIS_OPTIONS = {"socket_timeout": 0.25, "socket_connect_timeout": 0.25} | _RETRY
_AMQP_OPTIONS = {"confirm_publish": True, "read_timeout": 0.2, "write_timeout": 0.2} | _RETRY


class CircuitBreaker:
    """Remembers that something failed, for all threads of a process: `pause` seconds later one of them tries again."""

    def __init__(self, pause: float) -> None:
        self._pause = pause
        self._lock = threading.Lock()
        self._closed_until: float | None = None

    def allows(self) -> bool:
        """Whether to try now. After a failure that is one caller in each pause, until it reports success."""
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


breaker = CircuitBreaker(PAUSE)


def publish(jobs: Sequence[Job], *, within: float) -> list[UUID]:
    """Send a message for each job, in this order; the ids of those that the broker took.

    No message is begun after `within` seconds; one that has begun takes half a second at most, whatever the broker
    does. A message carries the job's id alone: the row is the truth, and a message too many finds it claimed. What is
    not among the result may have arrived all the same, when the broker's answer came too late.
    """
    sent = _send(map(_message_of, jobs), len(jobs), "jobs", within=within) if jobs else 0
    return [job.pk for job in jobs[:sent]]


def publish_task(name: str, argument: object, *, queue: str, priority: int, expires: float) -> bool:
    """Send a message that is for no job; whether the broker took it. Who takes it `expires` seconds later drops it."""
    message = {
        "name": name,
        "args": [argument],
        "queue": queue,
        "priority": broker_priority(priority, amqp=is_amqp()),
        "expires": expires,
    }
    return _send([message], 1, "messages", within=2 * ACQUIRE_TIMEOUT) == 1


def _message_of(job: Job) -> dict[str, Any]:
    limit = job_types.time_limit(job.job_type)
    return {
        "name": f"stockqueue.{job.job_type}",
        "args": [str(job.pk)],
        "task_id": str(job.pk),
        "queue": job.queue,
        "priority": broker_priority(job.priority, amqp=is_amqp()),
        "soft_time_limit": limit,
        "time_limit": limit + KILL_AFTER,
    }


def _send(messages: Iterable[dict[str, Any]], count: int, what: str, *, within: float) -> int:
    """How many of `count` messages, each the arguments of `send_task`, the broker took."""
    sent = 0
    if not breaker.allows():
        return sent
    deadline = time.monotonic() + within
    # RabbitMQ takes what it cannot keep without a word, unless it is asked to confirm.
    confirmed = {"confirm_timeout": _CONFIRM_TIMEOUT} if is_amqp() else {}
    connection = _connection()
    try:
        with pools.producers[connection].acquire(block=True, timeout=ACQUIRE_TIMEOUT) as producer:
            for message in messages:
                if time.monotonic() > deadline:
                    break
                current_app.send_task(**message, producer=producer, retry=True, retry_policy=_RETRY, **confirmed)
                sent += 1
        breaker.succeed()
    except (OSError, KombuError, *connection.connection_errors, *connection.channel_errors) as error:
        breaker.fail()
        logger.warning("the broker took %d of %d %s: %s", sent, count, what, error or type(error).__name__)
    return sent


def depth(queue: str) -> int:
    """Messages that wait in a queue of the broker, of all priorities. OSError when it does not answer."""
    # A connection of its own: asked for rarely, and a pooled one may have been lost unnoticed.
    with _connection().clone() as connection:
        try:
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
            return int(connection.channel().queue_declare(queue, passive=True).message_count)
        except connection.channel_errors:
            return 0  # there is no such queue: nothing was ever sent to it, or on Redis, nothing waits in it
        except (KombuError, *connection.connection_errors) as error:
            raise OSError(str(error) or type(error).__name__) from error


def is_amqp() -> bool:
    """Whether the broker is RabbitMQ, which sorts the other way round."""
    return bool(_connection().transport.driver_type == "amqp")


@cache
def _connection() -> Connection:
    """The address and time-outs for publishing; the open connections are in kombu's pool for it.

    Consumers wait for messages much longer than this, so these time-outs are not in the worker's own settings.
    """
    amqp = str(current_app.conf.broker_url).startswith("amqp")
    connection: Connection = current_app.connection_for_write(
        transport_options=_AMQP_OPTIONS if amqp else _REDIS_OPTIONS, connect_timeout=_CONNECT_TIMEOUT
    )
    return connection
