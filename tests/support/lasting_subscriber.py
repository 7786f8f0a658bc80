"""A subscriber that a broker remembers."""

from typing import Any
from uuid import uuid4

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from operations.local.mqtt_subscriber import Subscriber


class LastingSubscriber(Subscriber):
    """Its session outlives a connection, as with `mosquitto_sub -c -i NAME -q 2`; connects again when it is cut."""

    def __init__(
        self, host: str, port: int, topic_filter: str, username: str | None = None, password: str | None = None
    ) -> None:
        super().__init__(host, port, topic_filter)
        self.qos: dict[str, set[int]] = {}
        """By topic, the QoS that messages came with."""
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=uuid4().hex, clean_session=False)
        self._client.username_pw_set(username, password)
        self._client.on_connect = lambda client, *_: client.subscribe(topic_filter, qos=2)
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message

    def _on_message(self, client: mqtt.Client, data: Any, message: mqtt.MQTTMessage) -> None:
        self.qos.setdefault(message.topic, set()).add(message.qos)
        super()._on_message(client, data, message)
