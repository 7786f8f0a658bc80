"""The topics of all messages; no other module knows MQTT topics.

The templates are `queue.mqtt.topics` of the configuration. Lifecycle events are never retained.
"""

from collections.abc import Iterator
from typing import NamedTuple

from django.conf import settings

from tasks.models import Job, JobEvent
from tasks.priority import level_of

LONGEST_TOPIC = 65_535
"""The longest topic in bytes (MQTT 5.0, section 4.7.3)."""

Event = JobEvent.Event

_ENDS_BADLY = (Event.FAILED, Event.EXPIRED, Event.CANCELLED)


class InvalidTopic(ValueError):
    """A broker would refuse the topic, or close the connection."""


class Target(NamedTuple):
    """A topic with its QoS, and the name of its template, which stands for the message's purpose."""

    template: str
    topic: str
    qos: int


class Message(NamedTuple):
    """An MQTT message to publish."""

    topic: str
    payload: bytes
    qos: int
    retain: bool = False


def lifecycle_targets(event: JobEvent, login_user_ids: list[int]) -> list[Target]:
    """All topics of an event; `login_user_ids` are the requesters who logged in. Raise InvalidTopic."""
    return list(_targets(event, event.job, login_user_ids))


def message(template: str, payload: bytes, *, qos: int = 1, retain: bool = False, **values: str) -> Message:
    """A message about a worker, an alert or the bridge; `values` fill in the template. Raise InvalidTopic."""
    return Message(_target(template, qos=qos, **values).topic, payload, qos, retain)


def as_level(text: str) -> str:
    """`text` as a topic level: `_` replaces forbidden characters. For names that the payload repeats unchanged."""
    return "".join(character if _may_be_in_a_level(character) else "_" for character in text)


def _targets(event: JobEvent, job: Job, login_user_ids: list[int]) -> Iterator[Target]:
    yield _target(job.job_type, symbol=job.symbol)
    yield _target("job_status", job_id=str(job.pk))
    for user_id in login_user_ids:
        yield _target("portfolio_priority", user_id=str(user_id))
    if event.event == Event.QUEUED:
        level = level_of(event.payload["priority"])
        yield _target("job_queue", qos=2 if level == "high" else 1, priority=level, job_type=job.job_type)
    elif event.event == Event.COMPLETED:
        yield _target("job_completed", job_id=str(job.pk))
    elif event.event == Event.RETRIED:
        yield _target("job_failed", job_id=str(job.pk))
        yield _target("job_retry", job_id=str(job.pk))
    elif event.event in _ENDS_BADLY:
        yield _target("job_failed", job_id=str(job.pk))


def _may_be_in_a_level(text: str) -> bool:
    # mosquitto closes the connection for control characters and for code points that are not characters.
    return text.isprintable() and not any(sign in text for sign in "/+#")


def _target(template: str, *, qos: int = 1, **values: str) -> Target:
    topic: str = getattr(settings.JOB_PROCESSOR.queue.mqtt.topics, template)
    for name, value in values.items():
        placeholder = "{" + name + "}"
        if placeholder in topic and not (value and _may_be_in_a_level(value)):
            raise InvalidTopic(f"{template}: {value!r} cannot be a level of a topic")
        topic = topic.replace(placeholder, value)
    if len(topic.encode()) > LONGEST_TOPIC or topic.startswith("$"):
        raise InvalidTopic(f"{template}: {topic[:60]!r} cannot be a topic")
    return Target(template, topic, qos)
