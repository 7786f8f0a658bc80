"""An MQTT 5 client that tells what the broker answers."""

import queue
from contextlib import suppress
from types import TracebackType
from typing import Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from stockqueue.config.addresses import mqtt_address
from stockqueue.config.queues import MqttQueue

PATIENCE = 10.0


class MqttClient:
    """Connected inside the block to `url`, which is written as in MQTT_URL.

    Entering raises OSError where there is no connection, with the broker's words where it refuses us.
    """

    def __init__(self, url: str) -> None:
        self._address = mqtt_address(MqttQueue(), {"MQTT_URL": url})
        self._answers: queue.Queue[ReasonCode] = queue.Queue()
        self._messages: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5, reconnect_on_failure=False
        )
        self._client.username_pw_set(self._address.username, self._address.password)
        if self._address.tls:
            self._client.tls_set(self._address.ca_file, self._address.certificate_file, self._address.key_file)
        self._client.on_connect = lambda *arguments: self._answers.put(arguments[3])
        self._client.on_disconnect = lambda *arguments: self._answers.put(arguments[3])
        self._client.on_subscribe = lambda *arguments: self._answers.put(arguments[3][0])
        self._client.on_publish = lambda *arguments: self._answers.put(arguments[3])
        self._client.on_message = lambda *arguments: self._messages.put((arguments[2].topic, arguments[2].payload))

    def __enter__(self) -> Self:
        self._client.connect(self._address.host, self._address.port)
        self._client.loop_start()
        answer = self._answers.get(timeout=PATIENCE)
        if answer.is_failure:
            self._client.loop_stop()
            raise ConnectionRefusedError(str(answer))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, topic: str, payload: bytes | str, *, retain: bool = False) -> str:
        """The broker's answer at QoS 1, or why it cut the connection."""
        self._client.publish(topic, payload, qos=1, retain=retain)
        return str(self._answers.get(timeout=PATIENCE))

    def subscribe(self, topic_filter: str) -> str:
        """The broker's answer."""
        self._client.subscribe(topic_filter, qos=1)
        return str(self._answers.get(timeout=PATIENCE))

    def receive(self) -> tuple[str, bytes]:
        """Topic and payload of the next message."""
        return self._messages.get(timeout=PATIENCE)

    def received(self) -> list[tuple[str, bytes]]:
        """The messages that came before the broker's last answer, and were not received yet."""
        found = []
        with suppress(queue.Empty):
            while True:
                found.append(self._messages.get_nowait())
        return found
