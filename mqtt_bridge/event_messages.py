"""The MQTT messages of an event."""

from collections.abc import Sequence

from mqtt_bridge.outbox import login_users
from mqtt_bridge.payloads import PayloadTooLong, for_topic, lifecycle_payload
from mqtt_bridge.topics import InvalidTopic, Message, lifecycle_targets
from tasks.models import JobEvent

_HEADER = 16
"""The most bytes of a packet besides its topic and its payload."""


class Unsendable(Exception):
    """The event is a dead letter: no attempt to publish it can succeed."""


def messages_of(event: JobEvent, largest: int | None) -> Sequence[Message]:
    """The messages of an event, one for each topic, if the broker accepts packets of up to `largest` bytes."""
    messages: list[Message] = []
    encoded: dict[bool, bytes] = {}
    try:
        payload = lifecycle_payload(event)
        for target in lifecycle_targets(event, login_users(event)):
            is_failure = target.template == "job_failed"
            if is_failure not in encoded:
                encoded[is_failure] = for_topic(payload, target.template)
            messages.append(Message(target.topic, encoded[is_failure], target.qos))
    except (InvalidTopic, PayloadTooLong) as error:
        raise Unsendable(str(error)) from None
    except KeyError as error:
        raise Unsendable(f"the event's payload lacks {error}") from None
    for message in messages:
        size = len(message.topic.encode()) + len(message.payload) + _HEADER
        if largest is not None and size > largest:
            raise Unsendable(f"{message.topic}: {size} bytes; the broker accepts at most {largest}")
    return messages
