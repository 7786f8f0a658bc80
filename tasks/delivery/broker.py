"""Publishing to the Celery broker within time limits, and the depth of the broker's queues.

A broker that refuses or hangs delays a process by half a second now and then, not at every request: after a failure, a
circuit breaker stops all attempts for a while.
"""

import logging
import time
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any
from uuid import UUID

from celery import current_app
from kombu import pools
from kombu.connection import Connection
from kombu.exceptions import KombuError

from stockqueue.circuit_breaker import CircuitBreaker
from tasks import job_types
from tasks.models import Job
from tasks.priority import broker_priority

logger = logging.getLogger(__name__)

ACQUIRE_TIMEOUT = 0.5
"""Seconds to wait for a connection from the pool."""
PAUSE_AFTER_FAILURE = 5.0
"""Seconds without attempts after a failure."""
KILL_AFTER = 30
"""Seconds beyond the time limit after which a job that has not stopped is killed."""

# The time-outs keep a message under a second if the broker refuses, hangs, or does not read. kombu waits three times
# for a hanging Redis, which leaves a login a quarter of its second. RabbitMQ 3.10 took 0.9 s at most. The second
# attempt is for a connection lost since the last use. kombu writes the retry policy into the transport options, and
# has a pool for each set of options. So the options contain the policy from the start.
_CONNECT_TIMEOUT = 0.3
_CONFIRM_TIMEOUT = 0.25
_RETRY = {"max_retries": 1, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.1}
_REDIS_OPTIONS = {"socket_timeout": 0.25, "socket_connect_timeout": 0.25} | _RETRY
_AMQP_OPTIONS = {"confirm_publish": True, "read_timeout": 0.2, "write_timeout": 0.2} | _RETRY


breaker = CircuitBreaker(PAUSE_AFTER_FAILURE)


def publish(jobs: Sequence[Job], *, within: float) -> list[UUID]:
    """Send a message for each job, in this order. Return the ids of the jobs that the broker accepted.

    No message starts after `within` seconds; a started message takes half a second at most, whatever the broker does.
    A message carries the job's id alone: the row is the truth, and a duplicate message finds the job claimed. Jobs
    missing from the result may have arrived all the same, if the broker answered too late.
    """
    sent = _send(map(_message_of, jobs), len(jobs), "jobs", within=within) if jobs else 0
    return [job.pk for job in jobs[:sent]]


def publish_task(name: str, *arguments: object, queue: str, priority: int, expires: float) -> bool:
    """Send a message that is for no job, valid for `expires` seconds. Return whether the broker accepted it."""
    message = {
        "name": name,
        "args": list(arguments),
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
    """Send messages, each the arguments of `send_task`. Return how many of `count` the broker accepted."""
    sent = 0
    if not breaker.allows():
        return sent
    deadline = time.monotonic() + within
    # RabbitMQ drops messages silently when it cannot store them, unless the sender asks for confirmation.
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
        logger.warning("the broker accepted %d of %d %s: %s", sent, count, what, error or type(error).__name__)
    return sent


def depth(queue: str) -> int:
    """The number of messages in a queue of the broker, of all priorities. OSError if the broker does not answer."""
    # Not a pooled connection: calls are rare, and a pooled connection may have been lost unnoticed.
    with _connection().clone() as connection:
        try:
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
            return int(connection.channel().queue_declare(queue, passive=True).message_count)
        except connection.channel_errors:
            return 0  # no such queue: nothing was ever sent, or, on Redis, the queue is empty
        except (KombuError, *connection.connection_errors) as error:
            raise OSError(str(error) or type(error).__name__) from error


def is_amqp() -> bool:
    """Whether the broker is RabbitMQ, which sorts priorities in the opposite order."""
    return bool(_connection().transport.driver_type == "amqp")


@cache
def _connection() -> Connection:
    """The address and time-outs for publishing. kombu keeps a pool of open connections for this object.

    Consumers wait much longer for messages, so the worker's own settings do not have these time-outs.
    """
    amqp = str(current_app.conf.broker_url).startswith("amqp")
    connection: Connection = current_app.connection_for_write(
        transport_options=_AMQP_OPTIONS if amqp else _REDIS_OPTIONS, connect_timeout=_CONNECT_TIMEOUT
    )
    return connection
