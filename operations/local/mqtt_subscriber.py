"""An independent MQTT subscriber, like `mosquitto_sub -t 'stock/+/+'`."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion


@dataclass(frozen=True)
class Message:
    """A received message."""

    topic: str
    payload: bytes
    retained: bool


class Subscriber:
    """Collects every message on `topic_filter` during the block. Speaks MQTT 3.1.1, like older programs."""

    def __init__(self, host: str, port: int, topic_filter: str) -> None:
        self._address = (host, port)
        self._filter = topic_filter
        self._arrived = threading.Condition()
        self._subscribed = False
        self._messages: list[Message] = []
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_: client.subscribe(self._filter, qos=1)
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message

    def __enter__(self) -> Self:
        self._client.connect(*self._address)
        self._client.loop_start()
        with self._arrived:
            if not self._arrived.wait_for(lambda: self._subscribed, 10):
                raise TimeoutError(f"no subscription to {self._filter} within 10 s")
        return self

    def __exit__(self, *_error: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def messages(self) -> list[Message]:
        """The messages so far, in order."""
        with self._arrived:
            return list(self._messages)

    def wait_for(self, enough: Callable[[list[Message]], bool], timeout: float) -> bool:
        """Wait until `enough(messages)`; returns False after `timeout` seconds."""
        with self._arrived:
            return self._arrived.wait_for(lambda: enough(self._messages), timeout)

    def _on_subscribe(self, *_: Any) -> None:
        with self._arrived:
            self._subscribed = True
            self._arrived.notify_all()

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        with self._arrived:
            self._messages.append(Message(message.topic, bytes(message.payload), message.retain))
            self._arrived.notify_all()
