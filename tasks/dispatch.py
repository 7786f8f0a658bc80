"""Hands committed jobs to the broker, within a second even when it refuses or hangs."""

import logging
import time
from collections.abc import Sequence
from functools import cache
from uuid import UUID

from celery import current_app
from kombu import pools
from kombu.connection import Connection
from kombu.exceptions import KombuError

from tasks.lifecycle import mark_queued
from tasks.models import Job
from tasks.priority import broker_priority

logger = logging.getLogger(__name__)

PUBLISH_DEADLINE = 0.5
"""Seconds after which no further message is begun; one that has begun takes at most another 0.5."""

_TIMEOUTS = {"socket_timeout": 0.3, "socket_connect_timeout": 0.3}
_RETRY = {"max_retries": 1, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.1}


def dispatch(job_ids: Sequence[UUID]) -> int:
    """Send the pending ones of `job_ids` to their queues, in this order; how many the broker took.

    What it does not take stays pending, and the sweeper sends it later. A message carries the job's id alone: the row
    is the truth, and a message too many finds it claimed.
    """
    found = Job.objects.filter(status=Job.Status.PENDING).in_bulk(job_ids)
    jobs = [found[job_id] for job_id in job_ids if job_id in found]
    sent = _publish(jobs)
    if sent:
        mark_queued(sent)
    return len(sent)


def _publish(jobs: Sequence[Job]) -> list[UUID]:
    sent: list[UUID] = []
    if not jobs:
        return sent
    deadline = time.monotonic() + PUBLISH_DEADLINE
    connection = _connection()
    amqp = connection.transport.driver_type == "amqp"
    try:
        with pools.producers[connection].acquire(block=True, timeout=PUBLISH_DEADLINE) as producer:
            for job in jobs:
                if time.monotonic() > deadline:
                    logger.warning("the broker is slow: %d of %d jobs wait", len(jobs) - len(sent), len(jobs))
                    break
                current_app.send_task(
                    f"stockqueue.{job.job_type}",
                    args=[str(job.pk)],
                    task_id=str(job.pk),
                    queue=job.queue,
                    priority=broker_priority(job.priority, amqp=amqp),
                    producer=producer,
                    retry=True,
                    retry_policy=_RETRY,
                )
                sent.append(job.pk)
    except (OSError, KombuError, *connection.connection_errors, *connection.channel_errors) as error:
        logger.warning("the broker took %d of %d jobs: %s", len(sent), len(jobs), error or type(error).__name__)
    return sent


@cache
def _connection() -> Connection:
    """The address and time-outs for publishing; the open connections are in kombu's pool for it.

    Consumers wait for messages much longer than this, so these time-outs are not in the worker's own settings.
    """
    connection: Connection = current_app.connection_for_write(transport_options=_TIMEOUTS, connect_timeout=0.4)
    return connection
