"""One connection to the MQTT broker: publish, and wait for the acknowledgements."""

import socket
import threading
from collections.abc import Collection
from contextlib import suppress
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from stockqueue.addresses import MqttAddress

CONNECT_TIMEOUT = 5.0
GOODBYE_TIMEOUT = 1.0
IN_FLIGHT = 20
"""Messages on the wire without an answer; paho holds back the rest. mosquitto's `max_inflight_messages`: of QoS 2
messages beyond it, it loses some without a word, and others it refuses with `Quota exceeded`."""

_PROTOCOLS = {"5": MQTTProtocolVersion.MQTTv5, "3.1.1": MQTTProtocolVersion.MQTTv311}


class MqttError(Exception):
    """The broker cannot be reached, refuses us, or the connection was lost."""


class MqttConnection:
    """A connection that is used until it breaks, and never mends itself: the outbox knows what to send again.

    paho would resend what it still holds after a reconnect, without our window and only within this process.
    """

    def __init__(self, address: MqttAddress, client_id: str, *, keepalive: int = 60) -> None:
        self._address = address
        self._keepalive = keepalive
        self._changed = threading.Condition()
        self._connack: ReasonCode | None = None
        self._lost: str | None = None
        self._acknowledged: dict[int, ReasonCode] = {}
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=_PROTOCOLS[address.protocol],
            reconnect_on_failure=False,
        )
        self._client.connect_timeout = CONNECT_TIMEOUT
        self._client.max_inflight_messages_set(IN_FLIGHT)
        if address.username is not None:
            self._client.username_pw_set(address.username, address.password)
        if address.tls:
            self._client.tls_set()
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_publish = self._on_publish

    def open(self) -> None:
        """Connect, and wait until the broker has accepted us. MqttError says why not."""
        try:
            self._client.connect(self._address.host, self._address.port, keepalive=self._keepalive)
        except (OSError, ValueError) as error:
            raise MqttError(f"{self._address}: {error or type(error).__name__}") from None
        self._client.loop_start()
        with self._changed:
            self._changed.wait_for(lambda: self._connack is not None or self._lost is not None, CONNECT_TIMEOUT)
            refused = self._connack is not None and self._connack.is_failure
            if self._connack is None or refused:
                reason = self._connack if refused else self._lost or f"no answer in {CONNECT_TIMEOUT:.0f} s"
                raise MqttError(f"{self._address}: {reason}")

    def close(self) -> None:
        """Say goodbye, and hang up on a broker that does not read it. The network thread then ends by itself."""
        if self._client.disconnect() != MQTTErrorCode.MQTT_ERR_SUCCESS:
            return  # there is no connection
        with self._changed:
            self._changed.wait_for(lambda: self._lost is not None, GOODBYE_TIMEOUT)
        unread = self._client.socket()
        if isinstance(unread, socket.socket):
            with suppress(OSError):
                unread.shutdown(socket.SHUT_RDWR)

    def publish(self, topic: str, payload: bytes, qos: int) -> int:
        """Hand a message to the broker; its id, for `wait`. MqttError when the connection is gone."""
        sent = self._client.publish(topic, payload, qos)
        if sent.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise MqttError(f"{self._address}: {mqtt.error_string(sent.rc)}")
        return sent.mid

    def wait(self, mids: Collection[int], *, timeout: float) -> dict[int, ReasonCode]:
        """The broker's answer to each of `mids`, without those that have none when the connection breaks or
        `timeout` seconds have passed."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._lost is not None or all(mid in self._acknowledged for mid in mids), timeout
            )
            return {mid: self._acknowledged.pop(mid) for mid in mids if mid in self._acknowledged}

    @property
    def is_open(self) -> bool:
        with self._changed:
            return self._connack is not None and self._lost is None

    def _on_connect(
        self, _client: mqtt.Client, _data: Any, _flags: Any, reason: ReasonCode, _more: Properties | None
    ) -> None:
        with self._changed:
            self._connack = reason
            self._changed.notify_all()

    def _on_disconnect(
        self, _client: mqtt.Client, _data: Any, _flags: Any, reason: ReasonCode, _more: Properties | None
    ) -> None:
        with self._changed:
            self._lost = str(reason)
            self._changed.notify_all()

    def _on_publish(self, _client: mqtt.Client, _data: Any, mid: int, reason: ReasonCode, _more: Properties) -> None:
        with self._changed:
            self._acknowledged[mid] = reason
            self._changed.notify_all()
